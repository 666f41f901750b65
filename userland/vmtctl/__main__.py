"""``python -m vmtctl``."""

from __future__ import annotations

import sys

from vmtctl.cli import main

if __name__ == "__main__":
    sys.exit(main())
