"""Collect what a bare Linux machine with PyTorch, timm and CUDA lacks, into parts that can be carried there.

    python -m kda_edge.benchmarks.kit.collect --python-version 3.12 --part-mb 55 --has machine.txt --data imagery

Give it at the top of a clone; `make gpu-kit` does. The machine is Linux on x86-64. --has is what
`python3 -m pip list --format freeze` prints there; without it, only what PyTorch and timm bring is taken to be there.
pip looks where it is told to look. What it brought stays in --cache, so that the next kit takes less time.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kda_edge.commands import ended
from kda_edge.errors import UsageError
from kda_edge.whole_files import write_whole

from .assembler import NAME, assembler
from .closure import wheels_of
from .download import PipDownload, require_clone, target_environment
from .groups import DATA, ORDER, groups_named
from .kit_file import HEADER_BYTES, KIT_JSON, Kit, PackedFile
from .machine_list import MachinePackages, machine_packages
from .packing import files_below, packed_folder, packed_wheel
from .parts import write_parts
from .wheel import Wheel

PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13")
IMAGERY: Final = "imagery.tar"


def main(argv: Sequence[str] | None = None) -> int:
    """Collect, print what is in the kit by group, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python-version", choices=PYTHONS, default="3.12", help="of the machine; default: 3.12")
    parser.add_argument("--part-mb", type=float, default=55, help="at most, in millions of bytes; default: 55")
    parser.add_argument("--groups", default=",".join(ORDER), help="in the order of the parts; default: %(default)s")
    parser.add_argument("--data", type=Path, metavar="DIR", help="imagery to take along: all files of a folder")
    parser.add_argument("--has", type=Path, metavar="FILE", help="what the machine has: pip list --format freeze")
    parser.add_argument("--glibc", default="2.28", help="of the machine, at most; default: 2.28 (since 2018)")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-kit"), metavar="DIR")
    parser.add_argument("--cache", type=Path, default=Path("build/gpu-kit-cache"), metavar="DIR")
    options = parser.parse_args(argv)
    return ended("gpu-kit", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    groups, payload_bytes = options.groups.split(","), int(options.part_mb * 1e6) - HEADER_BYTES
    if payload_bytes < 1:
        raise UsageError(f"--part-mb {options.part_mb:g} is too little for a part; give 1 or more")
    if not re.fullmatch(r"2\.\d{1,2}", options.glibc):
        raise UsageError(f"--glibc {options.glibc}: give a version such as 2.28, as ldd --version tells it there")
    chosen = groups_named(groups)
    if options.data is not None and DATA not in groups:
        raise UsageError(f"--data is given and {DATA} is not among --groups; add it where it is to lie")
    require_clone(Path.cwd())
    machine = machine_packages(options.has) if options.has else MachinePackages()
    environment = target_environment(options.python_version)
    options.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.cache) as fresh:
        download = PipDownload(Path(fresh), Path.cwd(), python=options.python_version, glibc=options.glibc)
        wheels = wheels_of(chosen, machine, environment, download)
        packed = packed_files(groups, wheels.values(), options.data, options.cache)
    kit = Kit(
        python=options.python_version,
        glibc=options.glibc,
        imports={name: group.imports for name, group in chosen.items()},
        payload_bytes=payload_bytes,
        files=tuple(packed),
    )
    made = write_parts(kit, list(packed.values()), options.out)
    write_whole(options.out / NAME, assembler())
    print(contents_table(made))
    print(f"\n{options.out}: {KIT_JSON}, {NAME} and {len(made.parts)} parts. On the machine, where all of it lies:")
    print(f"    python{options.python_version} {NAME} . --into ../kit")


def packed_files(
    groups: Sequence[str], wheels: Iterable[tuple[str, Wheel]], data: Path | None, cache: Path
) -> dict[PackedFile, Path]:
    """Return where each file of a kit lies, packed, in the order of the stream: by group, in each the small ones first.

    Raises:
        KitError: a wheel is damaged, or the folder of imagery holds what is no file.
        OSError: the cache can't be written.
    """
    found: dict[PackedFile, Path] = {}
    for group_name, wheel in wheels:
        path = packed_wheel(wheel, cache)
        file = _described(path, wheel.path.name, group_name, wheel.installed_bytes)
        found[replace(file, record=wheel.record, cuda=wheel.cuda)] = path
    if data is not None:
        path, size = packed_folder(data, cache), sum(file.stat().st_size for file in files_below(data))
        found[_described(path, IMAGERY, DATA, size)] = path
    packed, offset = dict[PackedFile, Path](), 0
    for file in sorted(found, key=lambda file: (groups.index(file.group), file.packed_bytes, file.name)):
        placed = replace(file, offset_bytes=offset)
        packed[placed] = found[file]
        offset = placed.end_bytes
    return packed


def _described(packed: Path, name: str, group: str, installed_bytes: int) -> PackedFile:
    content = packed.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return PackedFile(name, group, 0, len(content), installed_bytes, digest)


def contents_table(kit: Kit) -> str:
    """Return what each group weighs, which parts it lies in, and its largest package, as a table of text."""
    rows = [f"{'group':8} {'files':>5} {'packed MB':>10} {'installed MB':>13}  {'parts':8} largest"]
    for name in dict.fromkeys(file.group for file in kit.files):
        files = [file for file in kit.files if file.group == name]
        numbers = sorted({number for file in files for number in kit.numbers_of(file)})
        packed, whole = sum(file.packed_bytes for file in files), sum(file.installed_bytes for file in files)
        where = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        largest = max(files, key=lambda file: file.packed_bytes)
        cuda = f", CUDA {largest.cuda}" if largest.cuda else ""
        rows.append(
            f"{name:8} {len(files):5} {packed / 1e6:10.1f} {whole / 1e6:13.1f}  {where:8} "
            f"{largest.name} ({largest.packed_bytes / 1e6:.1f} MB{cuda})"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
