"""NTU RGB+D from its raw files: names, skeleton text, the published preprocessing chain."""
