"""Prompts made of five parts: task, role, context, instruction and examples."""
