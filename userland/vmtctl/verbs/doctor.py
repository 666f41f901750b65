"""``vmtctl doctor``: reports problems, why they matter, and the commands that fix them."""

from __future__ import annotations

from vmtctl.checks import ERROR, OK, WORDS, Finding, files
from vmtctl.checks.rcconf import RcConf
from vmtctl.context import RUN_IT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.context import Context

# vmt(4) is the manual of NetBSD's own driver.
MANUALS = "manuals: netbsd-vmt(4) of the driver, vmtctl(8)"


def run(context: Context) -> int:
    """Run every check; the status is the worst finding."""
    findings: list[Finding] = []
    if context.elsewhere:
        # Other findings would not be problems of this system.
        what = f"this is {context.elsewhere}, not NetBSD"
        findings.append(Finding(ERROR, "wrong-system", what, "vmt(4) is NetBSD's", advice=RUN_IT))
        return _print_findings(context, findings)
    rc = RcConf(context)
    if not context.image:
        from vmtctl import survey
        from vmtctl.checks import live

        findings += live.check(context, survey.take(context), rc)
    powerd_down = any(finding.name == "powerd-down" for finding in findings)
    findings += files.check(context, rc, powerd_down=powerd_down)
    return _print_findings(context, findings)


def _print_findings(context: Context, findings: list[Finding]) -> int:
    worst = max((finding.severity for finding in findings), default=OK)
    context.print_json(
        {"worst": WORDS[worst], "findings": [finding.document for finding in findings]}
    )
    for finding in sorted(findings, key=lambda finding: -finding.severity):
        context.print(f"{WORDS[finding.severity]:<8}{finding.what}")
        if finding.why:
            context.print(f"        {finding.why}")
        if finding.fix:
            context.print(f"        fix: {finding.fix}")
        if finding.advice:
            context.print(f"        {finding.advice}")
    if worst == OK:
        context.print("nothing to fix")
    context.print(MANUALS)
    return worst
