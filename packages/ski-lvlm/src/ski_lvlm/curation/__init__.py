"""Question-answer pairs for training: person crops, frame captions, pairs by a language model."""
