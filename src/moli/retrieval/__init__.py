"""Retrieval: chunk, embed, index, search, fuse and answer."""
