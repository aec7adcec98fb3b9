"""What a forward and a backward pass spend their time in, made fast."""
