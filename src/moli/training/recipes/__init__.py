"""Recipes, the table of tasks, and the files of a run."""
