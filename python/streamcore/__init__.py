"""An OpenAI-compatible streaming server for language models."""
