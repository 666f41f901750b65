"""A finding of the linter: one problem and its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import asdict, dataclass
from vmtgen.common.text import one_line
from vmtgen.lint.rules import BY_ID, rule_for

if TYPE_CHECKING:
    from vmtgen.kobj import KobjError, Module
    from vmtgen.lint.rules import Rule, Severity

_LONGEST = 500  # characters of a name in a message


@dataclass(frozen=True)
class Finding:
    """One problem: the rule, the place, and the remedy.

    `kernel` is the kernel's message, '' where the kernel does not detect the problem.
    """

    rule: str
    severity: Severity
    where: str
    message: str
    remedy: str
    kernel: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return asdict(self)


def printable(text: str) -> str:
    """Return text from a file, safe for a terminal: one line, no control characters."""
    shown = one_line(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def finding(rule_id: str, where: str, message: str, kernel: str = "") -> Finding:
    """Return the finding of a rule, with text from the file made printable."""
    rule = BY_ID[rule_id]
    return Finding(
        rule.id, rule.severity, printable(where), printable(message), rule.remedy, _lines(kernel)
    )


def refusal(error: KobjError, module: Module | None) -> Finding:
    """Return the finding for a refusal of the loader."""
    rule: Rule | None = None
    for text in error.messages:
        rule = rule or rule_for(text.text)
    assert rule is not None, f"no rule for the loader's message: {error}"
    where = ""
    relocation = error.relocation
    message = rule.why
    if relocation is not None and module is not None:
        where = f"{module.sections[relocation.section].name}+{relocation.offset:#x}"
        target = module.describe(relocation.symbol)
        message = f"{relocation.type_name} against {target}: {rule.why[0].lower()}{rule.why[1:]}"
    return finding(rule.id, where, message, str(error))


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
