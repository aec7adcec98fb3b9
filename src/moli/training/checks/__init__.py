"""Checks of a run before its first step: its data, its masks, its cost and its servers."""
