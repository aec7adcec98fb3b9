"""Tests of what is done on a GPU; without one they are left out."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
