"""Writes ioconf.c, ioconf.h and locators.h (NetBSD usr.bin/config/mkioconf.c, mkheaders.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmtgen.build.ioconf.definitions import Attachment, Attribute, Device
    from vmtgen.build.ioconf.read import Configuration, Instance
    from vmtgen.common.located import Problem

# sys/device.h: FSTATE_NOTFOUND for a unit, FSTATE_STAR for any number of units.
_NORMAL, _STAR = "FSTATE_NOTFOUND", "FSTATE_STAR"


@dataclass(frozen=True)
class Made:
    """The texts of the files by name, the name of the tables, and config(1)'s messages."""

    name: str
    files: dict[str, str]
    warnings: tuple[Problem, ...]


def emit(configuration: Configuration) -> Made:
    """Return the files for a configuration."""
    return Made(
        configuration.name,
        {
            "ioconf.c": "\n".join(_tables(_Plan(configuration))),
            "ioconf.h": "\n".join(_header(_Plan(configuration))),
            "locators.h": "\n".join(_locators(configuration)),
        },
        tuple(configuration.warnings),
    )


class _Plan:
    """The contents of the tables, in config(1)'s order."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.rows = list(_rows(configuration))
        with_rows = {row.device.name for row in self.rows}
        # sem.c, devbase_has_instances: of pseudo-devices those of defpseudodev have a driver.
        with_rows |= {d.name for d in configuration.pseudo if d.pseudo == "defpseudodev"}
        devices = configuration.definitions.devices.values()
        self.devices = [device for device in devices if device.name in with_rows]
        used = {row.attachment.name for row in self.rows if row.attachment}
        self.attachments = [a for a in configuration.definitions.attachments if a.name in used]
        self.parents = list(dict.fromkeys(row.parent for row in self.rows if row.parent))

    def attachments_of(self, device: Device) -> list[Attachment]:
        """Return the attachments of a device that have rows."""
        return [each for each in device.attachments if each in self.attachments]

    def locator_table(self) -> tuple[list[str], dict[Instance, int]]:
        """Return the table loc[] and the start of each row's values, the longest rows first."""
        table: list[str] = []
        offsets: dict[Instance, int] = {}
        for row in sorted(self.rows, key=lambda row: -len(row.locators)):
            if row.locators:
                offsets[row] = len(table)
                table += row.locators
        return table, offsets


def _rows(configuration: Configuration) -> Iterator[Instance]:
    """Yield the rows of cfdata by device, units before stars, each line once (pack.c)."""
    for device in configuration.definitions.devices.values():
        own = [each for each in configuration.instances if each.device is device]
        own.sort(key=lambda row: row.unit is None)
        names = list(dict.fromkeys(row.name for row in own))
        for name in names:
            seen: list[tuple[object, ...]] = []
            for row in (each for each in own if each.name == name):
                key = (row.attachment, row.parent, row.flags, row.locators)
                if key not in seen:
                    seen.append(key)
                    yield row


def _tables(plan: _Plan) -> Iterator[str]:
    configuration = plan.configuration
    name = configuration.name
    yield f"/* Made from {configuration.file.rpartition('/')[2]} as config(1) does. */"
    yield '#include "ioconf.h"'
    yield f"#define IOCONF {name}"
    for header in ("param", "conf", "device", "mount"):
        yield f"#include <sys/{header}.h>"
    yield ""
    yield from _drivers(plan)
    yield f"static struct cfdriver * const cfdriver_ioconf_{name}[] = {{"
    yield from (f"\t&{device.name}_cd," for device in plan.devices)
    yield "\tNULL\n};\n"
    yield from (f"extern struct cfattach {each.name}_ca;" for each in plan.attachments)
    table, offsets = plan.locator_table()
    if table:
        yield f"static int loc[{len(table)}] = {{ {', '.join(table)} }};"
    yield from _parents(plan)
    yield f"\nstatic struct cfdata cfdata_ioconf_{name}[] = {{"
    yield from (_row(plan, row, offsets.get(row)) for row in plan.rows)
    yield "\t{ NULL, NULL, 0, 0, NULL, 0, NULL }\n};\n"
    with_attachments = [device for device in plan.devices if device.attachments]
    for device in with_attachments:
        inits = "".join(f"&{each.name}_ca, " for each in plan.attachments_of(device))
        yield f"static struct cfattach * const {device.name}_cfattachinit[] = {{ {inits}NULL }};"
    yield f"static const struct cfattachinit cfattach_ioconf_{name}[] = {{"
    yield from (f'\t{{ "{d.name}", {d.name}_cfattachinit }},' for d in with_attachments)
    yield "\t{ NULL, NULL }\n};\n"


def _drivers(plan: _Plan) -> Iterator[str]:
    offered: dict[str, Attribute] = {}
    for device in plan.devices:
        offered |= {a.name: a for a in device.attributes if a.locators is not None}
    for attribute in offered.values():
        found = attribute.locators or []
        rows = [
            f'{{ "{each.name}", "{each.default}", {each.default} }}'
            if each.default is not None
            else f'{{ "{each.name}", "NULL", 0 }}'
            for each in found
        ]
        yield f"static const struct cfiattrdata {attribute.name}cf_iattrdata = {{"
        yield f'\t"{attribute.name}", {len(found)}, {{ {", ".join(rows) or "{ NULL, NULL, 0 }"} }}'
        yield "};"
    for device in plan.devices:
        attributes = [a for a in device.attributes if a.locators is not None]
        table = "NULL"
        if attributes:
            table = f"{device.name}_attrs"
            items = "".join(f"&{each.name}cf_iattrdata, " for each in attributes)
            yield f"static const struct cfiattrdata * const {table}[] = {{ {items}NULL }};"
        yield f"CFDRIVER_DECL({device.name}, {device.device_class()}, {table});\n"


def _parents(plan: _Plan) -> Iterator[str]:
    for place, parent in enumerate(plan.parents):
        if parent.device is None:
            where = "NULL, 0"
        else:
            unit = "DVUNIT_ANY" if parent.unit is None else parent.unit
            where = f'"{parent.device.name}", {unit}'
        yield (
            f'static const struct cfparent pspec{place} = {{ "{parent.attribute.name}", {where} }};'
        )


def _row(plan: _Plan, row: Instance, offset: int | None) -> str:
    # mkioconf.c, emitcfdata: the units of a star begin after its device's largest unit.
    units = [each.unit for each in plan.configuration.instances if each.device is row.device]
    largest = max((unit for unit in units if unit is not None), default=-1)
    unit = largest + 1 if row.unit is None else row.unit
    state = _STAR if row.unit is None else _NORMAL
    locators = "NULL" if offset is None else f"loc + {offset}"
    parent = "NULL" if row.parent is None else f"&pspec{plan.parents.index(row.parent)}"
    attachment = row.attachment.name if row.attachment else row.device.name
    return (
        f'\t{{ "{row.device.name}", "{attachment}", {unit}, {state}, {locators}, '
        f"{row.flags:#x}, {parent} }},"
    )


def _header(plan: _Plan) -> Iterator[str]:
    yield from (f"void {device.name}attach(int);" for device in plan.configuration.pseudo)
    yield from (f"extern struct cfdriver {device.name}_cd;" for device in plan.devices)
    yield ""


def _locators(configuration: Configuration) -> Iterator[str]:
    for attribute in configuration.definitions.attributes.values():
        found = attribute.locators or []
        if not found or " " in attribute.name:
            continue
        upper = attribute.name.upper()
        for place, each in enumerate(found):
            if " " in each.name:
                continue
            name = f"{upper}CF_{each.name.upper().replace('#', '_')}"
            yield f"#define {name} {place}"
            if each.default is not None:
                yield f"#define {name}_DEFAULT {each.default}"
        yield f"#define {upper}CF_NLOCS {len(found)}"
    yield ""
