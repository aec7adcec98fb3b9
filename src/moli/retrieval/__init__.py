"""Retrieval: parse, chunk, embed, index, search, fuse and answer."""
