"""A patch to specs/ alone extends the messages that the driver sends and receives.

Each addition is tested from specs to a built module; no template changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj import read_module

if TYPE_CHECKING:
    from pathlib import Path

    from stage import SourceTree

# A message of the host with a new text, state, button and answer: the file, the line after it, the
# new lines.
COMMAND = (
    (
        "specs/vmt/tclo.yaml",
        "  OS_PowerOn:\n",
        """\
  OS_Hibernate:
    doc: The user asks the guest to write its memory to the disk.
    arguments: none
    log: hibernate
    state: hibernate
    switch: hibernate
    reply: good night
""",
    ),
    ("specs/vmt/tclo.yaml", "  suspend: 5\n", "  hibernate: 6\n"),
    (
        "specs/vmt/driver.yaml",
        "  suspend: {level: notice,",
        "  hibernate: {level: notice, console: true, host: true, text: host needs 100% rest}\n",
    ),
    (
        "specs/vmt/driver.yaml",
        "  # Never",
        "  hibernate: {type: lid, event: pressed, doc: powerd runs lid_switch.}\n",
    ),
)

# A value that the guest reports, under a key that no host of today has.
ITEM = (
    (
        "specs/vmt/guestinfo.yaml",
        "  # The host notices a soft reset when",
        """\
  nickname: {key: 12, value: "100% {hostname} {uptime}", send: change, period: 20, limit: 300}
""",
    ),
)

# A pair of the detailed description without a variable, which is the last one.
PAIR = (
    (
        "specs/vmt/guestinfo.yaml",
        "\n# Interfaces and addresses",
        "    distroAddlVersion: current\n",
    ),
)


def add(source_tree: SourceTree, patch: tuple[tuple[str, str, str], ...]) -> None:
    """Insert new lines into the specs, each before a line that occurs once."""
    for file, before, lines in patch:
        assert file.startswith("specs/")
        source_tree.replace(file, before, lines + before)


def texts(directory: Path) -> dict[str, str]:
    """The files in ``directory`` by name."""
    files = [path for path in sorted(directory.iterdir()) if path.is_file()]
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def filled(text: str) -> str:
    """``text`` with a single blank for every gap."""
    return " ".join(text.split())


def generated(source_tree: SourceTree) -> dict[str, str]:
    """Generate, and return the driver's files by name."""
    run = source_tree.generate()
    assert run.returncode == 0, run.stderr
    return texts(source_tree.top / "kmod" / "vmt")


def built(source_tree: SourceTree) -> bytes:
    """Build, and return the data of the module that cannot be changed: its texts and tables."""
    source_tree.build_quickly()
    path = source_tree.top / "build/11.0/amd64/vmt.kmod"
    assert path.is_file()
    module = read_module(path)
    return b"".join(section.data for section in module.sections if section.region == "rodata")


def test_command_with_text_state_button_and_reply_needs_specs_only(
    source_tree: SourceTree,
) -> None:
    before = generated(source_tree)
    add(source_tree, COMMAND)
    after = generated(source_tree)

    assert set(after) == set(before)
    tables = filled(after["vmt_tables.c"])
    entry = '{ "OS_Hibernate", VMT_ARG_NONE, VMT_COUNTERS, VMT_LOG_HIBERNATE, '
    assert entry + 'VMT_SWITCH_HIBERNATE, VMT_STATE_HIBERNATE, NULL, "good night" },' in tables
    assert "VMT_STATE_HIBERNATE 6" in filled(after["vmtreg.h"])
    switch = "[VMT_SWITCH_HIBERNATE] = { PSWITCH_TYPE_LID, PSWITCH_EVENT_PRESSED }"
    assert switch in tables
    # A percent sign is no conversion.
    assert '"host needs 100%% rest"' in after["vmt_tables.c"]
    assert ".It Li OS_Hibernate\n" in after["vmt.4"]
    assert "`OS_Hibernate`" in texts(source_tree.top / "docs")["PROTOCOL.md"]

    data = built(source_tree)
    for text in (b"OS_Hibernate", b"good night", b"host needs 100%% rest"):
        assert text + b"\0" in data


def test_reported_value_needs_specs_only(source_tree: SourceTree) -> None:
    before = generated(source_tree)
    add(source_tree, ITEM)
    after = generated(source_tree)

    assert set(after) == set(before)
    assert "[VMT_INFO_NICKNAME] = { 12, 20, 300, false, false }," in after["vmt_tables.c"]
    assert '"100%% %s %ju"' in after["vmt_tables.c"]
    assert ".It nickname Ta 12 Ta every 20 s Ta when it changes\n" in after["vmt.4"]

    assert b"100%% %s %ju\0" in built(source_tree)


def test_os_detail_pair_without_variable_needs_specs_only(source_tree: SourceTree) -> None:
    add(source_tree, PAIR)
    assert "distroAddlVersion='current'" in generated(source_tree)["vmt_tables.c"]
    assert b" distroAddlVersion='current'\0" in built(source_tree)


def test_host_and_kernel_process_new_command(source_tree: SourceTree) -> None:
    """An addition to the specs alone is answered, logged, and presses its button at run time.

    Without the new state, whose number no host of today has.
    """
    file, before, lines = COMMAND[0]
    add(source_tree, ((file, before, lines.replace("    state: hibernate\n", "")), *COMMAND[2:]))
    generated(source_tree)
    built(source_tree)
    scenario = source_tree.top / "hibernate.yaml"
    scenario.write_text(
        "summary: The host says a word that was added to the specs.\n"
        "steps:\n"
        "  - at: 20.0\n"
        "    host.tclo: OS_Hibernate\n"
        "  - expect.reply: {message: OS_Hibernate, reply: OK good night}\n"
        "  - expect.console: 'vmt0: host needs 100% rest'\n"
        "  - expect.event: {script: lid_switch, name: pressed, driver: vmt0}\n"
        "  - expect.rpci: 'log toolbox: host needs 100% rest'\n",
        encoding="utf-8",
    )
    run = source_tree.simulate("--scenario", str(scenario))
    assert run.returncode == 0, run.stdout + run.stderr


# One entry of each kind that only needs data: the file, the line after it, the new lines.
EVERYTHING = (
    (  # a message of the host with an argument and a button, a counter and a log text
        "specs/vmt/tclo.yaml",
        "  OS_PowerOn:\n",
        """\
  Set_And_Sleep:
    doc: The user asks the guest to look at the time and to sleep.
    arguments: flag
    count: naps
    log: nap
    action: time-synchronize
    switch: sleep
""",
    ),
    (  # an option
        "specs/vmt/tclo.yaml",
        "  autohide:",
        "  synctime.again: {type: seconds, setting: period, doc: Another period.}\n",
    ),
    (  # a command to the host
        "specs/vmt/rpci.yaml",
        "  version:\n",
        """\
  naps:
    text: "tools.capability.naps "
    at: registration
    doc: The guest can take a nap.
""",
    ),
    (  # a counter
        "specs/vmt/driver.yaml",
        "  resets: Conversations",
        "  naps: Naps that the host asked for.\n",
    ),
    (  # a log text
        "specs/vmt/driver.yaml",
        "  suspend: {level: notice,",
        "  nap: {level: notice, console: true, text: the host asks for a nap}\n",
    ),
)


def test_one_of_each_kind_needs_specs_only_and_runs(source_tree: SourceTree) -> None:
    """A request with an argument and a switch, an option, a command, a counter, a log text."""
    add(source_tree, EVERYTHING)
    generated(source_tree)
    built(source_tree)
    scenario = source_tree.top / "naps.yaml"
    scenario.write_text(
        "summary: What was added to the specs alone is met.\n"
        "steps:\n"
        "  - expect.rpci: 'tools.capability.naps '\n"
        "    within: 20\n"
        "  - at: 20.0\n"
        "    host.tclo: Set_Option synctime.again 77\n"
        "  - expect.reply: {message: Set_Option synctime.again 77, reply: 'OK '}\n"
        "  - host.tclo: Set_And_Sleep 2\n"
        "  - expect.reply: {message: Set_And_Sleep 2, reply: ERROR Bad command}\n"
        "  - host.tclo: Set_And_Sleep 1\n"
        "  - expect.reply: {message: Set_And_Sleep 1, reply: 'OK '}\n"
        "  - expect.console: 'vmt0: the host asks for a nap'\n"
        "  - expect.event: {script: sleep_button, name: released, driver: vmt0}\n"
        "  - at: 22.0\n"
        "    expect.sysctl: {machdep.vmt0.stats.naps: 1}\n"
        "  - expect.sysctl:\n"
        "      machdep.vmt0.clock_sync.host: >-\n"
        "        synctime 0, period 77, enable 1, startup 1, backward 0, slew 1, percent 50\n",
        encoding="utf-8",
    )
    run = source_tree.simulate("--scenario", str(scenario))
    assert run.returncode == 0, run.stdout + run.stderr
