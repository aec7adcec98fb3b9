"""Chat models of every kind, behind one protocol."""
