"""The server: a workspace over HTTP, shown only as far as its readers may see."""
