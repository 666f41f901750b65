"""What `make soak` plays of vmtctl: the samples of `make test`, at full length."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.userland import rounds

ROUNDS = 200


def main() -> int:
    """Run everything; returns the exit status."""
    with tempfile.TemporaryDirectory() as place:
        wrong = rounds.play(Path(place) / "image", ROUNDS)
    print(f"vmtctl: {ROUNDS} rounds of two runs at once: {len(wrong)} wrong")
    print("".join(f"  {line}\n" for line in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
