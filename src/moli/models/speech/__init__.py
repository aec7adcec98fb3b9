"""Speech recognition: audio files to text."""
