"""``ski``: one command line over all packages; each command is another package's or program's."""
