"""Signals that end a campaign: no result is lost, and none counts partially.

SIGINT comes from Ctrl-C, SIGTERM from a time limit of CI or from a machine that shuts down, SIGHUP
from a terminal that is closed.  Each ends the campaign in the same way: the result so far is
written and is valid.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# The signals, and their text in the result of the campaign.
REASONS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated (SIGTERM)",
    signal.SIGHUP: "the terminal was closed (SIGHUP)",
}


class Interrupted(KeyboardInterrupt):
    """A signal ends the campaign.  ``exit_status`` is that of a shell: 128 plus the number."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(REASONS[signal.Signals(number)])
        self.exit_status = 128 + number


class Interruption:
    """Raises Interrupted for the signals of REASONS, while ``listening``.

    Python runs a signal's handler between any two instructions of the main thread.  ``held`` defers
    it during a block that must not be interrupted, such as adding a seed to the sums.
    """

    def __init__(self) -> None:
        self._held = 0
        self._pending = 0
        self._over = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals; only the main thread can, other threads leave them unchanged.

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
        """Defer signals until the block has ended; raises Interrupted then."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._pending and not self._held:
            self._raise(self._pending)

    def finish(self) -> None:
        """Ignore signals: all seeds have run, and only the result is left to write."""
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
        # then ignored; another Ctrl-C ends the program without a result.
        if self._over:
            raise KeyboardInterrupt
        self._over, self._pending = True, 0
        raise Interrupted(number)
