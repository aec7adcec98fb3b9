"""Trained models: stored, loaded, evaluated, used to answer, and exported."""
