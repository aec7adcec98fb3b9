"""Trained models: loaded, evaluated, asked and exported."""
