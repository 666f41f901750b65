"""``python -m vmtgen`` runs the command ``vmtgen``."""

import sys

from vmtgen.cli import main

sys.exit(main())
