"""Which modules import on a machine with a kit, each asked in a process of its own, as a user's program would be.

Nothing but the standard library.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.errors import one_line

AT_ONCE: Final = 4  # PyTorch's import takes a gigabyte, and these take seconds
OF_THE_MACHINE: Final = ("numpy", "torch", "torchvision", "timm")
_ASK: Final = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
cuda = getattr(getattr(module, "version", None), "cuda", None) or ""
print("", getattr(module, "__version__", ""), module.__file__ or "", cuda, sep="\\t")
"""


@dataclass(frozen=True)
class Imported:
    """What came of importing a module: where it lies and its version, or why it does not import.

    Attributes:
        path: of the file that was imported; empty where it failed.
        cuda: that PyTorch was built for; empty for other modules.
        failure: one line; empty where it imported.
    """

    module: str
    version: str = ""
    path: str = ""
    cuda: str = ""
    failure: str = ""

    def lies_in(self, folder: Path) -> bool:
        """Whether the module was taken from a folder."""
        return bool(self.path) and Path(self.path).resolve().is_relative_to(folder.resolve())


def imported(modules: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[Imported]:
    """Return what came of importing each module in a process with these variables, started in a folder without any."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda module: _imported(module, environment, folder), modules))


def _imported(module: str, environment: Mapping[str, str], folder: Path) -> Imported:
    command = [sys.executable, "-c", _ASK, module]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    if done.returncode == 0:
        _, version, path, cuda = done.stdout.splitlines()[-1].split("\t")
        return Imported(module, version, path, cuda)
    said = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
    return Imported(module, failure=one_line(said[-1]))
