"""Rewards: functions, checks, rubrics and models that score answers."""
