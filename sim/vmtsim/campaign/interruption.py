"""Signals that end a campaign: nothing is lost, and nothing is counted by half.

SIGINT comes from Ctrl-C, SIGTERM from a time limit of CI or from a machine that goes down, SIGHUP
from a terminal that goes away.  Each ends the campaign in the same way: what was played so far is
written and counts.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# The signals, and what the result of the campaign says of them.
REASONS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated (SIGTERM)",
    signal.SIGHUP: "the terminal was closed (SIGHUP)",
}


class Interrupted(KeyboardInterrupt):
    """A signal asks the campaign to end.  ``exit_status`` is a shell's: 128 and the number."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(REASONS[signal.Signals(number)])
        self.exit_status = 128 + number


class Interruption:
    """Turns the signals of REASONS into Interrupted, while ``listening``.

    Python runs a signal's handler between any two instructions of the main thread.  ``held`` keeps
    it out of a block that must happen whole, as adding a seed to the sums.
    """

    def __init__(self) -> None:
        self._held = 0
        self._pending = 0
        self._over = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals; only the main thread can, and others leave them as they are.

        A signal that is ignored, as SIGHUP is under nohup(1), stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: handler
            for number in REASONS
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN
        }
        for number in before:
            signal.signal(number, self._signalled)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put signals off until the block has ended; raises Interrupted then."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._pending and not self._held:
            self._raise(self._pending)

    def finish(self) -> None:
        """Everything is played: what is left is to write the result, and no signal stops that."""
        self._over = True

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self._over and number != signal.SIGINT:
            return
        if self._held:
            self._pending = self._pending or number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        # The first signal ends the campaign.  SIGTERM and SIGHUP, which often come in pairs, are
        # then ignored; Ctrl-C once more ends the program without a result.
        if self._over:
            raise KeyboardInterrupt
        self._over, self._pending = True, 0
        raise Interrupted(number)
