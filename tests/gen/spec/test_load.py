"""Reading all specs: what they become, and what happens where files are missing or unreadable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.common import errors
from vmtgen.common.located import LocatedErrors
from vmtgen.compiler.spec.load import FILES, load
from vmtgen.targets import load_targets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[str, str, str], Path]


def messages(directory: Path, needs: Path | None = None) -> list[str]:
    """What is said of the specs in ``directory``, without the directory."""
    with pytest.raises(LocatedErrors) as caught:
        load(directory, needs)
    return [str(p).replace(f"{directory}/", "") for p in caught.value.problems]


def test_the_specs_of_this_repository_are_right(root: Path) -> None:
    specs = load(root / "specs" / "vmt")
    assert specs.backdoor.magic == 0x564D5868
    assert specs.rpci.messages["state-status"].text.command == "tools.os.statechange.status"


def test_the_small_set_is_right(small: Path) -> None:
    specs = load(small)
    assert specs.driver.sysctl["clock_sync"].children["period"].range == (0, 2147483)


def test_a_reference_is_a_name_and_knows_the_entry(small: Path) -> None:
    specs = load(small)
    command = specs.tclo.commands["OS_Halt"]
    assert command.state == "halt"
    assert command.state.name == "halt"
    assert command.state.entry.number == 1
    assert command.switch.entry is specs.driver.switches["power"]
    assert command.log.entry.level == "notice"


def test_a_key_that_python_keeps_to_itself_is_reached_by_its_name(small: Path) -> None:
    specs = load(small)
    assert specs.driver.module["class"] == "driver"
    assert specs.backdoor.commands["get-version"]["in"][0].half == "high"


def test_each_means_a_child_for_every_counter(small: Path) -> None:
    leaves = [leaf.path for leaf in load(small).driver.sysctl_leaves()]
    assert leaves == ["uuid", "clock_sync.period", "stats.polls"]


def test_the_fields_of_a_value_have_the_types_of_its_variables(small: Path) -> None:
    fields = load(small).guestinfo.items["mixture"].value.fields
    types = {field.name: field.type for field in fields}
    assert types == {"hostname": "text", "uptime": "u64"}


def test_the_fields_of_the_detailed_form_have_types_too(small: Path) -> None:
    detailed = load(small).guestinfo.detailed
    assert [field.type for field in detailed.pairs["kernelVersion"].value.fields] == ["u64"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'pairs: {bitness: "64", kernelVersion: "up {uptime}"}',
            "pairs: {}",
            "guestinfo.yaml:14: detailed.pairs: expected at least one pair",
        ),
        (
            "\n    - {key: 10, addresses: 2048}\n    - {key: 9, addresses: 64}",
            " []",
            "guestinfo.yaml:18: nics.methods: expected at least one method",
        ),
        (
            "count: 32",
            "count: 256",
            "guestinfo.yaml:32: disks.count: the older form holds at most 255",
        ),
        (
            "text: 16384",
            "text: 65505",
            "guestinfo.yaml:32: disks.text: 65505 bytes do not fit a message: at most 65504",
        ),
    ],
    ids=["no pairs", "no methods", "disks", "room for disks"],
)
def test_what_the_driver_could_not_send_is_told(
    small: Path, change: Change, old: str, new: str, said: str
) -> None:
    change("guestinfo.yaml", old, new)
    assert messages(small) == [said]


def test_a_node_for_the_period_may_not_go_beyond_what_the_clock_takes(
    small: Path, change: Change
) -> None:
    change("driver.yaml", "range: [0, 2147483]", "range: [0, 2147484]")
    (said,) = messages(small)
    assert said.startswith("driver.yaml:20: sysctl.clock_sync.children.period.range: ")
    assert said.endswith(": 2147484 seconds in milliseconds overflow an int")


def test_a_mapping_of_texts_is_kept_as_it_is_written(small: Path) -> None:
    flags = load_targets(small.parent).flags
    assert flags.compile["-std=gnu99"].startswith("The dialect of the kernel")
    assert next(iter(flags.compile)) == "-std=gnu99"


def test_the_largest_message_about_interfaces_is_counted_as_xdr_does(small: Path) -> None:
    # An interface, an address, the host name in whole words, and the words that are there once.
    nics = load(small).guestinfo.nics
    assert nics.largest == 16 * 44 + 1550 * 40 + 2 * 68 + 16 * 24 + 256 + 13 * 4


@pytest.mark.parametrize("fields", ["", "{level:uint} {message:text}", "{message:text}"])
def test_a_text_for_the_hosts_log_needs_the_message_that_carries_it(
    small: Path, change: Change, fields: str
) -> None:
    change("rpci.yaml", "log {name:text}: {message:text}", f"log {fields}")
    assert messages(small) == [
        "driver.yaml:9: logs.halt.host: rpci.yaml has no message 'log' with two fields of type text"
    ]


def test_without_a_text_for_the_host_the_message_may_be_away(small: Path, change: Change) -> None:
    change("driver.yaml", "host: true, ", "")
    line = '  log: {text: "log {name:text}: {message:text}", doc: A line for the log.}\n'
    change("rpci.yaml", line, "")
    assert "log" not in load(small).rpci.messages


def test_a_directory_that_is_not_there_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingInputError, match="no such directory") as caught:
        load(tmp_path / "specs")
    assert caught.value.exit_status == errors.NO_INPUT
    assert caught.value.hint is not None


def test_every_missing_file_that_the_c_needs_is_named(tmp_path: Path, root: Path) -> None:
    specs = tmp_path / "specs" / "vmt"
    specs.mkdir(parents=True)
    found = messages(specs, root / "templates" / "vmt" / "needs.yaml")
    shared = f"{specs.parent}/netbsd.yaml"
    kinds = {path.stem for path in (root / "specs" / "vmt").iterdir()}
    assert found == sorted(
        f"{name}: no such file" for name in (shared, *(f"{k}.yaml" for k in kinds))
    )


def test_every_module_has_a_driver_yaml_and_no_other_file_that_nothing_needs(small: Path) -> None:
    for path in small.iterdir():
        path.unlink()
    assert messages(small) == ["driver.yaml: no such file"]


def test_a_file_that_nobody_reads_is_refused_and_what_is_meant_is_guessed(small: Path) -> None:
    (small / "tclo.yaml").rename(small / "tcol.yaml")
    assert messages(small) == [
        f"tcol.yaml: no spec is called tcol: expected {', '.join(FILES)} (did you mean 'tclo'?)",
    ]


def test_a_file_that_is_not_yaml_does_not_hide_what_is_wrong_elsewhere(
    small: Path, change: Change
) -> None:
    (small / "driver.yaml").write_text("a: [1\nb: 2\n", encoding="utf-8")
    change("transport.yaml", "command: 30", "command: 300")
    # tclo.yaml refers to driver.yaml: of names there nothing can be said.
    assert messages(small) == [
        "driver.yaml:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        "transport.yaml:3: command: expected an integer from 0 to 127, not the number 300",
    ]


def test_an_error_names_file_line_and_the_path_inside(small: Path, change: Change) -> None:
    change("backdoor.yaml", "half: high", "halv: high")
    where = "backdoor.yaml:16: commands.get-version.in[0].halv"
    assert messages(small) == [f"{where}: unknown key 'halv' (did you mean 'half'?)"]


def test_a_machine_without_short_name_is_told(small: Path, change: Change) -> None:
    change("guestinfo.yaml", ", aarch64: other-64", "")
    assert messages(small) == [
        "guestinfo.yaml:6: short_names: the machine 'aarch64' of netbsd.yaml has none here"
    ]
