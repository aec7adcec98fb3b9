"""Frozen dataclasses that all packages share: documents, answers, examples, events, errors."""
