"""Campaigns of drivers without a host: detected properties, findings, and clean twins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtgen.kobj import read_module
from vmtgen.kobj.ioctls import ioctl_commands, is_command
from vmtsim import cli
from vmtsim.campaign import investigate, plan, reduce
from vmtsim.campaign.player import play
from vmtsim.campaign.subject import Setup, Subject, subject_of, words_of
from vmtsim.run.survey import Survey, survey

from tests.sim import modkit

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.run.findings import Finding

# Within this many seeds, from 1 on, each planted defect is found; the twin passes all of them.
SEEDS = 10
CLEAN = ("mailbox", "classic", "worker", "seven")
PLANTED = {
    # (module, BUG): the rules, one of which names the defect.
    ("mailbox", 1): {"leak"},  # the error path of d_open keeps an object
    ("mailbox", 2): {"liveness"},  # a sleep in d_read that no signal ends
    ("mailbox", 3): {"callback-with-mutex"},  # d_read fails to copy out with the lock held
    ("mailbox", 4): {"out-of-bounds"},  # d_write believes the length that it is given
    ("mailbox", 5): {"null-pointer", "bad-free"},  # an allocation that fails is used
    ("mailbox", 6): {"double-free", "use-after-free"},  # an ioctl frees memory that is used later
    ("mailbox", 7): {"leak"},  # MODULE_CMD_INIT fails half way without unwinding
    ("mailbox", 8): {"page-fault", "condvar-destroy-waited-on"},  # unloaded while it is open
    ("classic", 1): {"callout-pending-at-detach"},
    ("classic", 4): {"leak"},
}


def build(name: str, bug: int = 0) -> Path:
    return modkit.built(name, flags=(f"-DBUG={bug}",) if bug else ())


def first(module: Path, rules: set[str], begin: int = 1) -> tuple[int, Finding]:
    """Run seeds from ``begin`` up to the first that breaks one of the rules."""
    for seed in range(begin, begin + SEEDS):
        played = play(module, seed)
        assert not played.trouble, played.trouble
        found = next((each for each in played.findings if each.rule in rules), None)
        if found is not None:
            return seed, found
    raise AssertionError(f"{SEEDS} seeds do not find {', '.join(sorted(rules))}")


@pytest.mark.parametrize(("name", "bug"), PLANTED)
def test_planted_defect_is_found(name: str, bug: int) -> None:
    _seed, found = first(build(name, bug), PLANTED[name, bug])
    assert found.status


@pytest.mark.parametrize("name", CLEAN)
def test_clean_twin_stays_clean(name: str) -> None:
    module = build(name)
    for seed in range(1, SEEDS + 1):
        played = play(module, seed)
        assert (played.trouble, played.findings) == ("", []), seed


def test_module_kind_is_detected() -> None:
    assert survey(build("mailbox")) == Survey(
        "mailbox", switches=("mailbox",), opens=("mailbox",), unload=0
    )
    classic = survey(build("classic"))
    assert classic.devices == (("classic0", "cpu0"),)
    assert [path for path, _kind in classic.settings] == ["machdep.classic0.step"]
    assert not classic.vmware


def test_own_driver_has_host(driver: Path) -> None:
    found = survey(driver)
    assert (found.vmware, found.devices, found.unload) == (True, (("vmt0", "cpu0"),), 0)
    assert subject_of(driver, Setup()).vmware
    assert not subject_of(driver, Setup(vmware=False)).vmware


@pytest.mark.parametrize("machine", modkit.MACHINES)
def test_ioctl_commands_are_read_from_code(machine: str) -> None:
    def numbers(name: str) -> tuple[int, ...]:
        return ioctl_commands(read_module(modkit.built(name, machine)))

    assert numbers("seven") == (0xC0043701,)
    # MAILBOX_CLEAR, MAILBOX_LENGTH, MAILBOX_RESIZE: a switch, in the order of the numbers.
    assert numbers("mailbox") == (0x20006D03, 0x40046D02, 0x80046D01)
    assert numbers("classic") == ()


@pytest.mark.parametrize(
    ("number", "good"),
    [
        (0x20006D03, True),
        (0xC0043701, True),
        (0x20046D03, False),  # no direction, and a size
        (0x80006D03, False),  # a direction, and no size
        (0x90016D03, False),  # larger than IOCPARM_MAX
        (0x80040001, False),  # no group
        (0x180046D01, False),  # no 32 bits
    ],
)
def test_most_numbers_are_not_ioctl_commands(number: int, good: bool) -> None:
    assert is_command(number) is good


SCENARIO = """\
summary: a command, and a text
host: {option_burst: [], power_on: false, broadcast_ip: 0, ping: 0, vix_probe: 0}
steps:
  - at: 1
    guest.ioctl: {name: mailbox, command: 0x80046d09, data: 77}
  - guest.write: {name: mailbox, text: a good day}
"""


def test_scenario_adds_commands_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    setup = Setup(scenario=str(path), words=words_of(str(path)))
    subject = subject_of(build("mailbox"), setup)
    assert subject.ioctls[0] == (0x80046D09, 77)
    assert len(subject.ioctls) == 4
    assert subject.texts == ("a good day",)
    steps = [step for seed in range(1, 20)
             for step in plan.draw(seed, subject).scenario.steps]  # fmt: skip
    asked = {step.argument["command"] for step in steps if step.verb == "guest.ioctl"}
    written = {step.argument["text"] for step in steps if step.verb == "guest.write"}
    assert 0x80046D09 in asked
    assert "a good day" in written
    assert setup.options == ["--scenario", str(path)]


def test_failure_is_minimised_and_replayed_by_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = build("mailbox", 4)
    seed, found = first(module, {"out-of-bounds"}, 7)  # less to reduce than in the fourth
    reduced = reduce.reduce(module, seed, found.rule)
    assert reduced is not None
    assert len(reduced.items) <= 4 < reduced.total
    lines = investigate.describe(module, seed, found.rule, reduced=reduced)
    text = "\n".join(lines)
    assert "driver   a driver without a host: /dev/mailbox, 3 ioctl commands" in text
    assert "guest.write" in text
    again = lines[-1]
    assert again.endswith(f"--seed {seed} --only {reduced.only}")
    assert cli.main(again.split()[2:]) == 1
    assert "out-of-bounds" in capsys.readouterr().out


def test_violations_at_the_end_of_a_cut_run_are_not_the_failure() -> None:
    """Unloaded while it is open: by the administrator in the whole run, by the end of a part."""
    module, rule = build("mailbox", 8), "condvar-destroy-waited-on"
    seed, _found = first(module, {rule}, 12)
    reduced = reduce.reduce(module, seed, rule)
    assert reduced is not None
    lines = investigate.describe(module, seed, rule, reduced=reduced)
    assert any("guest.unload" in line for line in lines)


def test_second_phase_uses_devices_of_module() -> None:
    subject = subject_of(build("classic"), Setup())
    drawn = plan.draw(3, subject)
    asked = [step for step in drawn.scenario.steps[drawn.actions :] if step.expects]
    patterns = [{name: each.text for name, each in step.argument.items()} for step in asked]
    assert {"kind": "device.attach", "device": "classic0"} in patterns
    assert {"kind": "guest.done", "verb": "unload", "result": "0"} in patterns


def test_module_without_unload_is_no_failure() -> None:
    module = build("rules")
    found = survey(module)
    stays = Subject(Survey(found.module, unload=16), vmware=False)
    asked = [step.verb for step in plan.draw(1, stays).scenario.steps if step.expects]
    assert asked == []


def test_campaign_prints_detected_driver_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, result = build("mailbox"), tmp_path / "r.json"
    assert cli.main(["campaign", str(module), "--seeds", "1:8", "--jobs", "1", "--quiet",
                     "--check-determinism", "0", "--json", str(result)]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "driver   a driver without a host: /dev/mailbox, 3 ioctl commands\n" in printed
    record = json.loads(result.read_text(encoding="utf-8"))
    assert record["never"] == []
    assert record["reached"]["ioctl accepted"] > 0
    assert f" {record['injections']} faults: fail-nth {record['injections']}\n" in printed
    assert record["injections"] == record["reached"]["fault: fail-nth"] > 0
    assert "channel refused by the host" not in record["expected"]


UNMODELLED = """\
#include <sys/param.h>
#include <sys/module.h>
MODULE(MODULE_CLASS_MISC, other, NULL);
void vfs_attach(void *);
static int
other_modcmd(modcmd_t command, void *data)
{
	if (command == MODULE_CMD_%s)
		vfs_attach(data);
	return 0;
}
"""


def unmodelled(folder: Path, command: str) -> Path:
    source = folder / "other.c"
    source.write_text(UNMODELLED % command, encoding="utf-8")
    return build_module([source], out=folder / "out", release="11.0").path


def test_missing_model_at_load_is_reported_before_any_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = unmodelled(tmp_path, "INIT")
    assert cli.main(["campaign", str(module), "--seeds", "1:3", "--jobs", "1"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "calls vfs_attach, a kernel symbol that vmtsim does not model\n" in err
    assert f"`vmtsim models {module}` lists all that is missing" in err


def test_missing_model_in_seed_is_named_without_traceback(tmp_path: Path) -> None:
    stopped = play(unmodelled(tmp_path, "FINI"), 1)
    assert stopped.status == 70
    assert stopped.trouble.endswith("vfs_attach, a kernel symbol that vmtsim does not model")
    assert "\n" not in stopped.trouble


def test_two_runs_of_a_seed_are_identical() -> None:
    module = build("mailbox")
    one, two = (play(module, 3, keep_trace=True) for _ in range(2))
    assert one.trace is not None
    assert one.trace == two.trace
