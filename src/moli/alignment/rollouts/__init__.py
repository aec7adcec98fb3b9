"""Rollouts: prompts with the answers that a policy has sampled for them."""
