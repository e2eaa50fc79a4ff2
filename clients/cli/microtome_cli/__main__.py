"""``python -m microtome_cli``."""

import sys

from microtome_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
