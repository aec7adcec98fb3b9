"""Chat templates and tool calls: what a model reads and writes, as text."""
