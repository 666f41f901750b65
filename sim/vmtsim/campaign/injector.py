"""Faults that are recorded when they are injected, and can be injected again at the same places.

In a first run the random numbers decide, and every injection is recorded with its time and place.
In a later run the injections of a list are made, at the first opportunity of the same kind from the
same time on, and nothing is random: so a schedule can be minimised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

from vmtsim.campaign.plan import KERNEL_FAULTS
from vmtsim.host.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vmtsim.core.rng import Rng
    from vmtsim.host.context import Context
    from vmtsim.host.fault_effects import Effect

KMEM = "kmem"


@dataclass(frozen=True)
class Injection:
    """One injected fault: ``number`` counts from 0 in the run in which it was drawn.

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
    """The host's faults with a record: drawn with ``odds``, or taken from a ``script``.

    The details of a fault (a length, a direction) come from a separate stream for each injection,
    so that they stay the same when other injections are omitted.
    """

    def __init__(
        self,
        context: Context,
        odds: Mapping[str, tuple[int, int]],
        script: Sequence[Injection] | None,
    ) -> None:
        super().__init__(context)
        self.injections: list[Injection] = []
        self._script = None if script is None else sorted(script, key=lambda each: each.number)
        # Whether memory allocation may fail now; set by the player.
        self.may_refuse: Callable[[], bool] = lambda: False
        self._source = self._details = self._context.rng.fork("strikes")
        self._kernel_odds = {n: o for n, o in odds.items() if n in KERNEL_FAULTS}
        plan = {} if script is not None else odds
        self.set_plan({n: o for n, o in plan.items() if n not in KERNEL_FAULTS})

    @property
    def rng(self) -> Rng:
        """The stream for the details of the last injection."""
        return self._details

    def inject(self, point: str, protocol: str | None = None, subject: str = "") -> Effect | None:
        """Return the effect of the fault that is injected at this point, or None."""
        if self._script is not None:
            due = self._due(point, protocol)
            if due is None:
                return None
            self._begin(due)
            self.arm(due.name, at=point)
            return super().inject(point, protocol, subject)
        effect = super().inject(point, protocol, subject)
        if effect is not None:
            now = self._context.now()
            self._begin(Injection(len(self.injections), now, self.last, point, protocol))
        return effect

    def refuse_memory(self, _size: int) -> bool:
        """Decide whether an allocation that may fail does: for Kmem.refuse.

        For a VMware Tools driver only those of kernel threads fail: a device that could not attach
        stays away for good, and the second phase would have nothing to check.
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
            # Allocations are rare compared to calls to the host: ten times the odds.
            if not numerator or not self._rng.chance(min(10 * numerator, denominator), denominator):
                return False
            due = Injection(len(self.injections), self._context.now(), name, KMEM, None)
        self._begin(due)
        self.injected[name] += 1
        self._context.trace.emit("fault", name=name, point=KMEM, text=KERNEL_FAULTS[name])
        return True

    def _begin(self, injection: Injection) -> None:
        self.injections.append(injection)
        self._details = self._source.fork(f"strike {injection.number}")

    def _due(self, point: str, protocol: str | None) -> Injection | None:
        assert self._script is not None
        if not self.enabled:
            return None
        now = self._context.now()
        for index, injection in enumerate(self._script):
            if injection.at > now:
                break
            if injection.point == point and injection.protocol == protocol:
                del self._script[index]
                return injection
        return None
