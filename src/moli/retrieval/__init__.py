"""Retrieval: chunking, indexes, hybrid search, and answers with verified quotes."""
