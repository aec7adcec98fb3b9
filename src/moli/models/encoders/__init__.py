"""Sentence encoders that run on this machine."""
