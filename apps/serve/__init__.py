"""Recognition, embeddings, captions and conversations over HTTP: ``python -m apps.serve``."""
