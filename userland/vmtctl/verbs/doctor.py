"""``vmtctl doctor``: what is wrong, why it matters, and the command that mends it."""

from __future__ import annotations

from vmtctl.checks import FINE, WORDS, Finding, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context


def run(context: Context) -> int:
    """Run every check; the status is the worst finding."""
    findings: list[Finding] = []
    if not context.image:
        from vmtctl import survey
        from vmtctl.checks import live

        findings += live.check(context, survey.take(context))
    findings += files.check(context)
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
