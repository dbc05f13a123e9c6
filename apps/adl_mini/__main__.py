"""``python -m apps.adl_mini``: the main job."""

import sys

if __name__ == "__main__":  # process pools import this file again, and need none of the models
    from apps.adl_mini.job import main

    sys.exit(main())
