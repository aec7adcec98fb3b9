"""Models behind the HTTP API of another server."""
