"""How fast the hot paths are, each beside the plain way and the machine's own limit."""
