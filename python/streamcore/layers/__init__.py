"""The pieces that decoder models are put together from."""
