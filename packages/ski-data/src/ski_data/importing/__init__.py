"""Joints as people have them on disk, read into clips: files, mappings, rows."""
