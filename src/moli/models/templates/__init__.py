"""Chat templates and tool calls: the text that a chat model reads and writes."""
