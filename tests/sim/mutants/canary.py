"""The canary of the soak: ``python -m tests.sim.mutants.canary DIR`` builds it and prints its path.

The canary does not check an allocation. A campaign in which it survives proves nothing.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .mutation import build, mutants

NAME = "no-memory-unchecked"

if __name__ == "__main__":
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    (mutant,) = [mutant for mutant in mutants() if mutant.name == NAME]
    print(build(mutant, out))
