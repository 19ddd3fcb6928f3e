"""Install a kit, brought in parts, into a folder of its own, without a registry and without touching anything else.

    python3 assemble.pyz PARTS --into kit
    . kit/env.sh
    python3 -m kda_edge.runtime scene.tif --engine cuda

PARTS is the folder that holds kit.json and the parts. Give the same command again after a stop: it goes on. With
--groups, the first groups are installed before the last parts have come. Console scripts are not made: each command is
python3 -m kda_edge.runtime, .train, .export or .benchmarks.cli.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kda_edge.commands import EXIT_ERROR, ended
from kda_edge.errors import KitError, UsageError

from .import_check import CUDA_PROVIDER, OF_THE_MACHINE, Imported, cuda_refusal, imported
from .installation import Installation
from .kit_file import Kit, PackedFile
from .parts import PartFolder, kit_in

ONNXRUNTIME: Final = "onnxruntime"


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0; 1 where the kit can't be installed or a module of it does not import; 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="assemble", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", type=Path, metavar="PARTS", help="the folder of kit.json and the parts")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="an empty folder, or one of this kit")
    parser.add_argument("--groups", metavar="A,B", help="install these alone; without it, all that the kit holds")
    parser.add_argument("--no-check", action="store_true", help="do not import anything at the end")
    options = parser.parse_args(argv)
    return ended("assemble", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    kit = kit_in(options.parts)
    require_machine(kit)
    groups = _groups(kit, options.groups)
    folder = PartFolder(options.parts, kit)
    installation = Installation(options.into, kit)
    files = [file for file in kit.files if file.group in groups]
    waiting = [file for file in files if not installation.has(file)]
    folder.require(waiting)
    installation.require_room(waiting)
    for number, file in enumerate(waiting, start=1):
        print(f"{number}/{len(waiting)} {file.name}", flush=True)
        installation.install(file, folder)
    script = installation.write_environment()
    code = 0 if options.no_check else report(installation, [m for g in groups for m in kit.imports.get(g, ())], files)
    print(f"\n{len(files)} of {len(kit.files)} files of the kit are in {options.into}. Before anything else:\n")
    print(f"    . {script}")
    return code


def require_machine(kit: Kit) -> None:
    """Raise `KitError` where the wheels of a kit are for another Python, processor or C library than this one."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != kit.python:
        raise KitError(f"the kit is for Python {kit.python} and this is {here}; python{kit.python} assemble.pyz ...")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise KitError(f"the kit is for Linux on x86-64 and this is {sys.platform} on {platform.machine()}")
    library, version = platform.libc_ver()
    if library == "glibc" and _numbers(version) < _numbers(kit.glibc):
        raise KitError(f"the kit wants glibc {kit.glibc} and this is {version}; make it with --glibc {version}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number.isdigit())


def _groups(kit: Kit, asked: str | None) -> list[str]:
    there = list(dict.fromkeys([*kit.imports, *(file.group for file in kit.files)]))
    groups = asked.split(",") if asked else there
    for name in groups:
        if name not in there:
            raise UsageError(f"the kit has no group {name!r}; it has {', '.join(there)}")
    return groups


def report(
    installation: Installation,
    modules: Sequence[str],
    files: Sequence[PackedFile],
    of_the_machine: Sequence[str] = OF_THE_MACHINE,
) -> int:
    """Print what imports and from where; return 1 where something that the kit is for does not.

    Raises:
        KitError: a module is taken from the kit that must be the machine's own, or the other way round.
    """
    site, environment = installation.site, installation.environment(os.environ)
    rows = imported([*modules, *of_the_machine], environment, installation.into)
    own, machine = rows[: len(modules)], rows[len(modules) :]
    print()
    for row in [*own, *machine]:
        origin = "kit" if row.lies_in(site) else "machine"
        print(f"{row.module:32} {row.failure or f'{row.version:14} of the {origin}'}")
    for row in machine:
        if row.lies_in(site):
            raise KitError(f"{row.module} is taken from the kit, not from the machine; make the kit again")
    for row in own:
        if row.path and (site / row.module.partition(".")[0]).exists() and not row.lies_in(site):
            raise KitError(f"{row.module} is taken from {row.path}, not from the kit; uninstall it there")
    for line in [*cuda_differs(machine, files), *cuda_missing(own, files, environment, installation.into)]:
        print(line)
    return EXIT_ERROR if any(row.failure for row in own) else 0


def cuda_differs(machine: Sequence[Imported], files: Sequence[PackedFile]) -> list[str]:
    """Return a line for each package that was built for another major version of CUDA than the machine's PyTorch."""
    here = next((row.cuda for row in machine if row.cuda), "")
    return [
        f"{file.name} is built for CUDA {file.cuda} and PyTorch brings {here}: it needs its own CUDA libraries"
        for file in files
        if here and file.cuda and file.cuda.partition(".")[0] != here.partition(".")[0]
    ]


def cuda_missing(
    own: Sequence[Imported], files: Sequence[PackedFile], environment: Mapping[str, str], folder: Path
) -> list[str]:
    """Return a line where ONNX Runtime was installed for CUDA and can't compute with it here.

    Raises:
        KitError: the ONNX Runtime that imports has no CUDA provider.
    """
    runtimes = [row for row in own if row.module == ONNXRUNTIME and not row.failure]
    if not runtimes or not any(file.cuda for file in files):
        return []
    (runtime,) = runtimes
    if CUDA_PROVIDER not in runtime.providers:
        raise KitError(f"{runtime.path} has no {CUDA_PROVIDER}, though its wheel is for CUDA; make the kit again")
    refusal = cuda_refusal(environment, folder)
    return [] if refusal is None else [f"{ONNXRUNTIME} can't compute with CUDA here: {refusal}"]


if __name__ == "__main__":
    raise SystemExit(main())
