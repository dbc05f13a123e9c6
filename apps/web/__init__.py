"""The web page over the HTTP service of ``apps.serve``."""
