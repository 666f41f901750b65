"""Random broken modules: bits, fields, truncations, sizes up to 2^64. Each gets a verdict.

    .venv/bin/python -m tests.loader.random_mutants [--count 2000] [--seed 1]

runs the linter on each in a process that may use 10 s of CPU time and 256 MiB of address
space, as `make soak` does; `make test` plays the first ones in one process.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import struct
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = Path(__file__).parent / "base.kmod"
CPU_SECONDS = 10
ADDRESS_SPACE = 256 << 20
# Numbers at which sizes, offsets and indexes turn over.
EDGES = (
    *(0, 1, 2, 3, 7, 8, 0xFF, 0x1000, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF),
    *(1 << shift for shift in (16, 20, 24, 27, 28, 30, 31, 32, 33, 40, 48, 62, 63)),
    *((1 << shift) - 1 for shift in (31, 32, 63, 64)),
    *((1 << 64) - distance for distance in (8, 24, 4096, 1 << 31)),
)
_HEADER = ((16, "H"), (18, "H"), (20, "I"), (40, "Q"), (58, "H"), (60, "H"), (62, "H"))
_SECTION = ((0, "I"), (4, "I"), (8, "Q"), (16, "Q"), (24, "Q"), (32, "Q"), (40, "I"), (44, "I"),
            (48, "Q"), (56, "Q"))  # fmt: skip
_SYMBOL = ((0, "I"), (4, "B"), (5, "B"), (6, "H"), (8, "Q"), (16, "Q"))
_RELA = ((0, "Q"), (8, "I"), (12, "I"), (16, "Q"))


def mutants(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield (the change, the file) for each mutant; the same for the same seed."""
    base = BASE.read_bytes()
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        data = bytearray(base)
        done = [_change(rng, data) for _ in range(rng.choice((1, 1, 1, 2, 3, 8)))]
        yield f"#{number}: {'; '.join(done)}", bytes(data)


def _change(rng: random.Random, data: bytearray) -> str:
    if len(data) < 64:
        return "nothing left"
    kind = rng.choice(("bit", "byte", "header", "section", "section", "section", "symbol",
                       "relocation", "cut", "fill", "grow"))  # fmt: skip
    place = rng.randrange(len(data))
    if kind == "bit":
        bit = rng.randrange(8)
        data[place] ^= 1 << bit
        return f"bit {bit} of {place:#x}"
    if kind == "byte":
        data[place] = rng.randrange(256)
        return f"byte {place:#x} = {data[place]:#x}"
    if kind == "cut":
        del data[place:]
        return f"cut to {place}"
    if kind == "fill":
        size = rng.choice((1, 8, 64, 4096))
        data[place : place + size] = bytes([rng.choice((0, 0x20, 0x41, 0xFF))]) * size
        return f"{size} bytes at {place:#x} filled"
    if kind == "grow":
        size = rng.choice((1, 4096, 1 << 20))
        data.extend(bytes(size))
        return f"{size} bytes appended"
    return _field(rng, data, kind)


def _field(rng: random.Random, data: bytearray, kind: str) -> str:
    """Set one field of a structure to a boundary value, or to a value near the old one."""
    (headers,) = struct.unpack_from("<Q", data, 0x28)
    (count,) = struct.unpack_from("<H", data, 0x3C)
    start, size, fields = 0, 64, _HEADER
    if kind != "header":
        if not 0 < count < 64 or headers + 64 * count > len(data):
            return "no section headers"
        index = rng.randrange(count)
        start, fields = headers + 64 * index, _SECTION
        if kind in ("symbol", "relocation"):
            expected = 2 if kind == "symbol" else 4
            tables = [i for i in range(count) if _word(data, headers + 64 * i + 4) == expected]
            if not tables:
                return f"no {kind}"
            table = headers + 64 * rng.choice(tables)
            place, length = struct.unpack_from("<QQ", data, table + 24)
            if length < 24 or place + length > len(data):
                return f"no {kind}"
            start = place + 24 * rng.randrange(length // 24)
            size, fields = 24, _SYMBOL if kind == "symbol" else _RELA
    offset, form = rng.choice(fields)
    limit = 1 << 8 * struct.calcsize(form)
    if start + size > len(data):
        return "outside"
    (was,) = struct.unpack_from(f"<{form}", data, start + offset)
    near = was + rng.choice((-8, -1, 1, 8, 24))
    value = rng.choice((rng.choice(EDGES), near, rng.randrange(limit)))
    struct.pack_into(f"<{form}", data, start + offset, value % limit)
    return f"{kind} at {start:#x}+{offset} = {value % limit:#x} (was {was:#x})"


def _word(data: bytearray, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


@cache
def targets() -> Any:
    """Return specs/netbsd.yaml, which is read once."""
    from vmtgen.targets import load_targets

    return load_targets()


def verdict(path: Path) -> bool:
    """Lint a file, and read it as `vmtgen show` and the simulator do; whether it has an error."""
    from vmtgen.kobj import KobjError, Machine, read_module
    from vmtgen.lint.check import lint_file

    found = lint_file(path, targets=targets(), release="10.99.12", machine=Machine.AMD64)
    for finding in found:
        assert finding.message.isprintable(), finding
        assert finding.where.isprintable(), finding
    try:
        _ = read_module(path).modinfo
    except KobjError:
        assert any(finding.severity == "error" for finding in found), "refused, no error"
    return any(finding.severity == "error" for finding in found)


def _alone(path: Path) -> str:
    """Get a verdict in a child with limits; return the error, '' for none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            status = 2 if verdict(path) else 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-2000:])
        os._exit(status)
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        text = stream.read().decode("utf-8", "replace")
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return f"killed by signal {os.WTERMSIG(ended)}"
    return text if os.WEXITSTATUS(ended) == 1 else ""


def main() -> int:
    """Play the mutants; return 1 where one has no verdict."""
    parser = argparse.ArgumentParser(description="random broken modules through the linter")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.kmod"
        path.write_bytes(BASE.read_bytes())
        verdict(path)  # everything is imported before the first fork
        for number, (what, data) in enumerate(mutants(args.count, args.seed), 1):
            path.write_bytes(data)
            wrong = _alone(path)
            if wrong:
                failed += 1
                print(f"{what}\n{wrong}", file=sys.stderr)
            if number % 200 == 0:
                print(f"{number} of {args.count} mutants, {failed} without a verdict", flush=True)
    print(f"{args.count} random mutants: {args.count - failed} have a verdict, {failed} have none")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
