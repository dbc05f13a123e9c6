"""``python -m apps.serve``: an HTTP server of trained models."""

import sys

if __name__ == "__main__":  # processes that read videos import none of the models
    from apps.serve.command import main

    sys.exit(main())
