"""``python -m apps``: the program ``ski``."""

import sys

if __name__ == "__main__":  # process pools import this file again, and need none of the commands
    from apps.cli.main import main

    sys.exit(main())
