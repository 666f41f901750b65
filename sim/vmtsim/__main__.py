"""``python -m vmtsim`` is ``vmtsim``."""

import sys

from vmtsim.cli import main

sys.exit(main())
