"""``vmtctl doctor``: what is wrong, why it matters, and the command that mends it."""

from __future__ import annotations

from vmtctl.checks import BROKEN, FINE, WORDS, Finding, files
from vmtctl.context import RUN_IT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Run every check; the status is the worst finding."""
    findings: list[Finding] = []
    if context.elsewhere:
        # All else that would be found here is no fault of this system.
        what = f"this is {context.elsewhere}, not NetBSD"
        findings.append(Finding(BROKEN, what, "vmt(4) is NetBSD's", RUN_IT))
        return _tell(context, findings)
    if not context.image:
        from vmtctl import survey
        from vmtctl.checks import live

        findings += live.check(context, survey.take(context))
    findings += files.check(context)
    return _tell(context, findings)


def _tell(context: Context, findings: list[Finding]) -> int:
    worst = max((finding.severity for finding in findings), default=FINE)
    context.print_json(
        {"worst": WORDS[worst], "findings": [finding.document for finding in findings]}
    )
    for finding in sorted(findings, key=lambda finding: -finding.severity):
        context.say(f"{WORDS[finding.severity]:<8}{finding.what}")
        if finding.why:
            context.say(f"        {finding.why}")
        if finding.mend:
            context.say(f"        mend: {finding.mend}")
    if worst == FINE:
        context.say("nothing to mend")
    return worst
