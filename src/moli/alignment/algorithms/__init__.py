"""Algorithms: how a policy learns from scored rollouts, one file for each."""
