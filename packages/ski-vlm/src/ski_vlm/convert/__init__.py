"""Converters between published video-language checkpoints and ours."""
