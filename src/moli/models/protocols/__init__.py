"""Protocols of backends, model runners, chat models and encoders, and of the KV cache."""
