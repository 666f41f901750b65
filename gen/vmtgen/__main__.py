"""``python -m vmtgen`` is ``vmtgen``."""

import sys

from vmtgen.cli import main

sys.exit(main())
