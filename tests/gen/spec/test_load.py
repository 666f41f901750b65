"""Reading all specs: the resulting objects, and missing or unreadable files."""

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
    """The error messages for the specs in ``directory``, without the directory."""
    with pytest.raises(LocatedErrors) as caught:
        load(directory, needs)
    return [str(p).replace(f"{directory}/", "") for p in caught.value.problems]


def test_repository_specs_are_valid(root: Path) -> None:
    specs = load(root / "specs" / "vmt")
    assert specs.backdoor.magic == 0x564D5868
    assert specs.rpci.messages["state-status"].text.command == "tools.os.statechange.status"


def test_small_set_is_valid(small: Path) -> None:
    specs = load(small)
    assert specs.driver.sysctl["clock_sync"].children["period"].range == (0, 2147483)


def test_reference_is_name_and_entry(small: Path) -> None:
    specs = load(small)
    command = specs.tclo.commands["OS_Halt"]
    assert command.state == "halt"
    assert command.state.name == "halt"
    assert command.state.entry.number == 1
    assert command.switch.entry is specs.driver.switches["power"]
    assert command.log.entry.level == "notice"


def test_python_keyword_key_is_accessible(small: Path) -> None:
    specs = load(small)
    assert specs.driver.module["class"] == "driver"
    assert specs.backdoor.commands["get-version"]["in"][0].half == "high"


def test_each_creates_child_for_every_counter(small: Path) -> None:
    leaves = [leaf.path for leaf in load(small).driver.sysctl_leaves()]
    assert leaves == ["uuid", "clock_sync.period", "stats.polls"]


def test_value_fields_have_types_of_variables(small: Path) -> None:
    fields = load(small).guestinfo.items["mixture"].value.fields
    types = {field.name: field.type for field in fields}
    assert types == {"hostname": "text", "uptime": "u64"}


def test_detailed_form_fields_have_types(small: Path) -> None:
    detailed = load(small).guestinfo.detailed
    assert [field.type for field in detailed.pairs["kernelVersion"].value.fields] == ["u64"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
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
            "guestinfo.yaml:51: disks.count: the older form holds at most 255",
        ),
        (
            "text: 16384",
            "text: 65505",
            "guestinfo.yaml:51: disks.text: 65505 bytes do not fit a message: at most 65504",
        ),
    ],
    ids=["no pairs", "no methods", "disks", "room for disks"],
)
def test_unsendable_value_is_reported(
    small: Path, change: Change, old: str, new: str, message: str
) -> None:
    change("guestinfo.yaml", old, new)
    assert messages(small) == [message]


def test_period_node_is_bounded_by_clock(small: Path, change: Change) -> None:
    change("driver.yaml", "range: [0, 2147483]", "range: [0, 2147484]")
    (message,) = messages(small)
    assert message.startswith("driver.yaml:20: sysctl.clock_sync.children.period.range: ")
    assert message.endswith(": 2147484 seconds in milliseconds overflow an int")


def test_mapping_of_texts_is_kept_verbatim(small: Path) -> None:
    flags = load_targets(small.parent).flags
    assert flags.compile["-std=gnu99"].startswith("The dialect of the kernel")
    assert next(iter(flags.compile)) == "-std=gnu99"


def test_largest_nic_message_size_matches_xdr(small: Path) -> None:
    # An interface, an address, the host name in whole words, and the words that are there once.
    nics = load(small).guestinfo.nics
    assert nics.largest == 16 * 44 + 1550 * 40 + 2 * 68 + 16 * 24 + 256 + 13 * 4


@pytest.mark.parametrize("fields", ["", "{level:uint} {message:text}", "{message:text}"])
def test_host_log_text_needs_message_that_carries_it(
    small: Path, change: Change, fields: str
) -> None:
    change("rpci.yaml", "log {name:text}: {message:text}", f"log {fields}")
    assert messages(small) == [
        "driver.yaml:9: logs.halt.host: rpci.yaml has no message 'log' with two fields of type text"
    ]


def test_without_host_text_message_is_optional(small: Path, change: Change) -> None:
    change("driver.yaml", "host: true, ", "")
    line = '  log: {text: "log {name:text}: {message:text}", doc: A line for the log.}\n'
    change("rpci.yaml", line, "")
    assert "log" not in load(small).rpci.messages


def test_missing_directory_is_noinput(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingInputError, match="no such directory") as caught:
        load(tmp_path / "specs")
    assert caught.value.exit_status == errors.NO_INPUT
    assert caught.value.hint is not None


def test_every_missing_required_file_is_named(tmp_path: Path, root: Path) -> None:
    specs = tmp_path / "specs" / "vmt"
    specs.mkdir(parents=True)
    found = messages(specs, root / "templates" / "vmt" / "needs.yaml")
    shared = f"{specs.parent}/netbsd.yaml"
    kinds = {path.stem for path in (root / "specs" / "vmt").iterdir()}
    assert found == sorted(
        f"{name}: no such file" for name in (shared, *(f"{k}.yaml" for k in kinds))
    )


def test_every_module_has_driver_yaml_and_no_unused_file(small: Path) -> None:
    for path in small.iterdir():
        path.unlink()
    assert messages(small) == ["driver.yaml: no such file"]


def test_unknown_file_is_refused_with_suggestion(small: Path) -> None:
    (small / "tclo.yaml").rename(small / "tcol.yaml")
    assert messages(small) == [
        f"tcol.yaml: no spec is called tcol: expected {', '.join(FILES)} (did you mean 'tclo'?)",
    ]


def test_invalid_yaml_does_not_hide_other_errors(small: Path, change: Change) -> None:
    (small / "driver.yaml").write_text("a: [1\nb: 2\n", encoding="utf-8")
    change("transport.yaml", "command: 30", "command: 300")
    # tclo.yaml refers to driver.yaml: names in it cannot be checked.
    assert messages(small) == [
        "driver.yaml:2: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        "transport.yaml:3: command: expected an integer from 0 to 127, not the number 300",
    ]


def test_error_names_file_line_and_path(small: Path, change: Change) -> None:
    change("backdoor.yaml", "half: high", "halv: high")
    where = "backdoor.yaml:16: commands.get-version.in[0].halv"
    assert messages(small) == [f"{where}: unknown key 'halv' (did you mean 'half'?)"]


def test_machine_without_short_name_is_reported(small: Path, change: Change) -> None:
    change("guestinfo.yaml", ", aarch64: other-64", "")
    assert messages(small) == [
        "guestinfo.yaml:6: short_names: the machine 'aarch64' of netbsd.yaml has none here"
    ]
