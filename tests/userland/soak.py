"""The part of `make soak` for vmtctl: the samples of `make test`, at full length."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.userland import events, rounds

ROUNDS = 200
CALLS = 1000


def main() -> int:
    """Run everything; returns the exit status."""
    with tempfile.TemporaryDirectory() as place:
        wrong = rounds.play(Path(place) / "image", ROUNDS)
    print(f"vmtctl: {ROUNDS} rounds of two runs at once: {len(wrong)} wrong")
    print("".join(f"  {line}\n" for line in wrong), end="")
    for shell in events.shells():
        with tempfile.TemporaryDirectory() as place:
            left = events.play(Path(place), shell, CALLS)
        print(f"hooks under {shell}: {CALLS} site scripts: {len(left)} wrong")
        print("".join(f"  {line}\n" for line in left), end="")
        wrong += left
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
