"""Faults that remember when they struck, and that can strike again at the same places.

In a first run chance decides, and every strike is written down with its time and place.  In a
later run the strikes of a list happen, at the first opportunity of the same kind from the same
time on, and chance stays out of it: so a schedule can be made smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtsim.campaign.plan import KERNEL_FAULTS
from vmtsim.host.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmtsim.core.rng import Rng
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect

KMEM = "kmem"


@dataclass(frozen=True)
class Strike:
    """One fault that struck: ``number`` counts from 0 in the run in which chance chose it.

    ``at`` is virtual ns, ``point`` where (vmtsim.host.faults.POINTS, or ``kmem``).
    """

    number: int
    at: int
    name: str
    point: str
    protocol: str | None

    def __str__(self) -> str:
        where = f" ({self.protocol})" if self.protocol else ""
        return f"{self.at / 1e9:.6f} s  {self.name} at {self.point}{where}"


class Injector(Faults):
    """The host's faults with a memory: with ``odds``, or with a ``script``.

    The details of a fault (a length, a direction) come from a stream of their own for each
    strike, so that they are the same when other strikes are left out.
    """

    def __init__(
        self,
        context: Context,
        odds: Mapping[str, tuple[int, int]],
        script: Sequence[Strike] | None,
    ) -> None:
        super().__init__(context)
        self.strikes: list[Strike] = []
        self._script = None if script is None else sorted(script, key=lambda each: each.number)
        # Whether memory may be refused now; set by the player.
        self.may_refuse: Callable[[], bool] = lambda: False
        self._source = self._details = self._context.rng.fork("strikes")
        self._kernel_odds = {n: o for n, o in odds.items() if n in KERNEL_FAULTS}
        plan = {} if script is not None else odds
        self.set_plan({n: o for n, o in plan.items() if n not in KERNEL_FAULTS})

    @property
    def rng(self) -> Rng:
        """The stream for the details of the last strike."""
        return self._details

    def strike(self, point: str, protocol: str | None = None, subject: str = "") -> Effect | None:
        """Return the effect of the fault that strikes at this point, or None."""
        if self._script is not None:
            due = self._due(point, protocol)
            if due is None:
                return None
            self._begin(due)
            self.arm(due.name, at=point)
            return super().strike(point, protocol, subject)
        effect = super().strike(point, protocol, subject)
        if effect is not None:
            now = self._context.now()
            self._begin(Strike(len(self.strikes), now, self.last, point, protocol))
        return effect

    def refuse_memory(self, _size: int) -> bool:
        """Decide whether an allocation that may fail does: for Kmem.refuse.

        Of a driver of VMware's tools only those of kernel threads: a device that could not attach
        stays away for good, and the second phase would have nothing to look at.
        """
        if not self.enabled or not self.may_refuse():
            return False
        name = "no-memory"
        if self._script is not None:
            due = self._due(KMEM, None)
            if due is None:
                return False
        else:
            numerator, denominator = self._kernel_odds.get(name, (0, 1))
            # Allocations are rare beside calls to the host: ten times the odds.
            if not numerator or not self._rng.chance(min(10 * numerator, denominator), denominator):
                return False
            due = Strike(len(self.strikes), self._context.now(), name, KMEM, None)
        self._begin(due)
        self.struck[name] += 1
        self._context.trace.emit("fault", name=name, point=KMEM, text=KERNEL_FAULTS[name])
        return True

    def _begin(self, strike: Strike) -> None:
        self.strikes.append(strike)
        self._details = self._source.fork(f"strike {strike.number}")

    def _due(self, point: str, protocol: str | None) -> Strike | None:
        assert self._script is not None
        if not self.enabled:
            return None
        now = self._context.now()
        for index, strike in enumerate(self._script):
            if strike.at > now:
                break
            if strike.point == point and strike.protocol == protocol:
                del self._script[index]
                return strike
        return None
