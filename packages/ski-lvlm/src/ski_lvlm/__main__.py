"""``python -m ski_lvlm``: the form in which launchers start the command line."""

import sys

from ski_lvlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
