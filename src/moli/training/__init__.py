"""One loop that fine-tunes every kind of model Moli knows."""
