"""Runs the engine's plans on a device: buffers, KV cache, forward pass, sampling."""
