"""needs.yaml lists the names that a module's C uses, and the loader requires them in the specs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from vmtgen.common.located import LocatedErrors, load_yaml
from vmtgen.compiler import generate
from vmtgen.compiler.filters import c_macro, c_name

from .every_entry import MODULES, SpecsTrial, changes

ROOT = Path(__file__).resolve().parents[2]
NEEDS = ROOT / "templates" / "vmt" / "needs.yaml"

# The spelling of a section's entry in C; {} is the entry's name from c_macro or c_name.
MACROS = {
    "transport.protocols": "VMT_PROTOCOL_{}",
    "transport.subcommands": "VMT_{}",
    "transport.status": "VMT_STATUS_{}",
    "tclo.errors": "VMT_ERROR_{}",
    "tclo.backup.codes": "VMT_BACKUP_CODE_{}",
    "tclo.backup.events": "VMT_BACKUP_EVENT_{}",
    "guestinfo.items": "VMT_INFO_{}",
    "driver.module.properties": "VMT_PROPERTY_{}",
    "driver.logs": "VMT_LOG_{}",
    "driver.statistics": "VMT_COUNT_{}",
    "driver.rpc.states": "VMT_REPLY_{}",
}
FUNCTIONS = {
    "backdoor.commands": "vmt_{}",
    "rpci.messages": "vmt_rpc_{}",
}
# The same of vmmemctl.
BALLOON_MACROS = {
    "balloon.commands": "VMMEMCTL_COMMAND_{}",
    "balloon.status": "VMMEMCTL_STATUS_{}",
    "balloon.capabilities": "VMMEMCTL_CAN_{}",
    "driver.module.properties": "VMMEMCTL_PROPERTY_{}",
    "driver.logs": "VMMEMCTL_LOG_{}",
    "driver.statistics": "VMMEMCTL_COUNT_{}",
}
# Names of the same form that are not from that section.
OTHERS = {
    "VMT_STATUS_BAD", "VMT_LOG_NONE", "VMT_LOG_RATE", "VMT_RECEIVE_ONCE", "VMT_REPLY_HEAD",
    "VMT_REPLY_TRIES",
    "vmt_rpc_call", "vmt_rpc_check", "vmt_rpc_check_reply", "vmt_rpc_exchange", "vmt_rpc_release",
    "vmt_rpc_send",
}  # fmt: skip


@pytest.fixture(scope="module")
def written() -> str:
    """The C that is written by hand."""
    return "\n".join(output.text for output in generate.sources(ROOT / "kmod" / "vmt"))


@pytest.fixture(scope="module")
def needed() -> dict[str, list[str]]:
    """The names of each section of needs.yaml."""
    sections = load_yaml(NEEDS).plain()
    assert isinstance(sections, dict)
    return {where: list(names) for where, names in sections.items()}


@pytest.mark.parametrize("where", [*MACROS, *FUNCTIONS])
def test_c_uses_exactly_the_listed_names(
    where: str, needed: dict[str, list[str]], written: str
) -> None:
    if where in MACROS:
        pattern, names = MACROS[where], {c_macro(name) for name in needed[where]}
    else:
        pattern, names = FUNCTIONS[where], {c_name(name) for name in needed[where]}
    for name in names:
        assert re.search(rf"\b{pattern.format(name)}\b", written), f"{where}: {name}"
    if pattern in {"VMT_{}", "vmt_{}"}:
        return  # every name begins so
    used = set(re.findall(rf"\b{pattern.format('[A-Za-z_]+')}\b", written)) - OTHERS
    assert used == {pattern.format(name) for name in names}


def test_c_has_function_for_each_action(needed: dict[str, list[str]], written: str) -> None:
    defined = set(re.findall(r"^(?:vmt_do_|vmt_option_)(\w+)\(", written, re.MULTILINE))
    assert defined == {c_name(name) for name in needed["driver.actions"]}


def test_c_has_each_handler(written: str) -> None:
    sections = load_yaml(NEEDS).plain()
    assert isinstance(sections, dict)
    words = {words[1] for words in sections["driver.sysctl"].values()}
    handlers = {word for word in words if "." not in word} - {"uuid"}
    assert set(re.findall(r"^vmt_sysctl_(\w+)\(SYSCTLFN_ARGS\)", written, re.MULTILINE)) == handlers


def test_value_macros_match_variables(needed: dict[str, list[str]], written: str) -> None:
    defined = set(re.findall(r"#define\tVMT_GUEST_(\w+)", written))
    assert defined == {c_macro(name) for name in needed["guestinfo.variables"]}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "driver.yaml",
            "  aborts: Receives aborted.\n",
            "",
            "statistics: the driver's C uses 'aborts', which is not here",
        ),
        (
            "driver.yaml",
            "({error:int}); opening",
            "({error:text}); opening",
            "logs.channel-lost: the driver's C expects int here, not text",
        ),
        (
            "backdoor.yaml",
            "      - {name: lag, registers: [di]}\n",
            "",
            "the driver's C expects bool u64 u32 u32 u32 here, not bool u64 u32 u32",
        ),
        (
            "backdoor.yaml",
            "    expect_version: 6 ",
            "    # expect_version: 6 ",
            "get-version: the driver's C expects bool u32 version here, not bool u32",
        ),
        (
            "rpci.yaml",
            "{tools_version:uint} {kind:uint}",
            "{tools_version:uint} {kind:text}",
            "messages.version-type: the driver's C expects uint uint here, not uint text",
        ),
        (
            "driver.yaml",
            "data: clock.follow_host",
            "data: clock.follow_hots",
            "expects int number clock.follow_host range here, not int number clock.follow_hots",
        ),
        (
            "driver.yaml",
            "handler: number, data: clock.now, range: [0, 1]",
            "handler: rpc",
            "now: the driver's C expects int number clock.now range here, not int rpc",
        ),
        (
            "driver.yaml",
            "handler: state, size: 64",
            "handler: state, size: 640",
            "state.size: the handler has it on the kernel's stack: at most 256",
        ),
        (
            "tclo.yaml",
            "setting: percent",
            "setting: share",
            "options: the driver's C uses a setting 'percent', which no option has",
        ),
        (
            "guestinfo.yaml",
            "osrelease: {type: text",
            "osrelease: {type: u64",
            "variables.osrelease: the driver's C expects text here, not u64",
        ),
    ],
)
def test_missing_required_entry_is_located_error(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    specs = tmp_path / "specs"
    shutil.copytree(ROOT / "specs", specs)
    path = specs / "vmt" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(LocatedErrors) as caught:
        generate.outputs(ROOT / "templates", specs, ["vmt"])
    (line,) = [str(problem) for problem in caught.value.problems]
    assert re.search(rf"{file}:\d+: .*{re.escape(message)}", line), line


@pytest.mark.parametrize("module", MODULES)
def test_changed_entry_is_located_error_or_compiles(tmp_path: Path, module: str) -> None:
    """A sample; ``make soak`` tries every entry of every spec."""
    trial = SpecsTrial(tmp_path, module)
    everything = changes(module)
    # Beside the sample, texts that the C must not take for a format.
    sample = everything[7 :: 101 if module == "vmt" else 29]
    chosen = sample + [each for each in everything if each.path == ("doc",)]
    assert len(chosen) > 20
    assert [f"{each}: {trouble}" for each in chosen if (trouble := trial.trouble(each))] == []


def test_unused_action_is_an_error(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    shutil.copytree(ROOT / "specs", specs)
    path = specs / "vmt" / "tclo.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count("    action: resume\n") == 1
    path.write_text(text.replace("    action: resume\n", ""), encoding="utf-8")
    with pytest.raises(LocatedErrors) as caught:
        generate.outputs(ROOT / "templates", specs, ["vmt"])
    (line,) = [str(problem) for problem in caught.value.problems]
    assert re.search(r"driver\.yaml:\d+: actions\.resume: no command and no option", line), line


@pytest.mark.parametrize("where", BALLOON_MACROS)
def test_balloon_driver_uses_exactly_its_needs(where: str) -> None:
    written = "\n".join(output.text for output in generate.sources(ROOT / "kmod" / "vmmemctl"))
    sections = load_yaml(ROOT / "templates" / "vmmemctl" / "needs.yaml").plain()
    assert isinstance(sections, dict)
    pattern = BALLOON_MACROS[where]
    used = set(re.findall(rf"\b{pattern.format('[A-Z_]+')}\b", written)) - {"VMMEMCTL_LOG_PAUSE"}
    assert used == {pattern.format(c_macro(name)) for name in sections[where]}


def test_balloon_driver_has_each_handler() -> None:
    written = "\n".join(output.text for output in generate.sources(ROOT / "kmod" / "vmmemctl"))
    sections = load_yaml(ROOT / "templates" / "vmmemctl" / "needs.yaml").plain()
    assert isinstance(sections, dict)
    handlers = {words[1] if words[0] != "string" else "state"
                for words in sections["driver.sysctl"].values()}  # fmt: skip
    defined = set(re.findall(r"^vmmemctl_sysctl_(\w+)\(SYSCTLFN_ARGS\)", written, re.MULTILINE))
    # The counters have one handler for all of them, which no spec names.
    assert defined - {"counter"} == handlers
