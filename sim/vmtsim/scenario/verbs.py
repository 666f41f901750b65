"""All verbs of scenarios, by the names that a step uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.host.operator import OPERATIONS
from vmtsim.scenario.expect import EXPECTATIONS
from vmtsim.scenario.guest import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.core.verb import Verb

ACTIONS: Mapping[str, Verb] = {
    **{f"host.{name}": each for name, each in OPERATIONS.items()},
    **{f"guest.{name}": each for name, each in COMMANDS.items()},
}
VERBS: Mapping[str, Verb] = {**ACTIONS, **EXPECTATIONS}
