"""``python -m apps.web``: the service of ``apps.serve`` with a web page."""

import sys

if __name__ == "__main__":  # processes that read videos import none of the models
    from apps.web.command import main

    sys.exit(main())
