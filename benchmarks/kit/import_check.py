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
providers = getattr(module, "get_available_providers", list)()
print("", getattr(module, "__version__", ""), module.__file__ or "", cuda, ",".join(providers), sep="\\t")
"""
CUDA_PROVIDER: Final = "CUDAExecutionProvider"
# The graph y = x + x as ONNX, opset 13.
_GRAPH: Final = (
    "08083a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a0"
    "8080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
# A session does what a user's program does; on an H100 the provider's library, opened by itself, ended the process.
_COMPUTE: Final = """
import sys
import numpy
import onnxruntime
session = onnxruntime.InferenceSession(bytes.fromhex(sys.argv[1]), providers=[sys.argv[2], "CPUExecutionProvider"])
if session.get_providers()[0] != sys.argv[2]:
    sys.exit(1)
(two,) = session.run(None, {"x": numpy.ones(1, "float32")})
sys.exit(None if two[0] == 2 else f"it takes 1 + 1 for {two[0]}")
"""


@dataclass(frozen=True)
class Imported:
    """What came of importing a module: where it lies and its version, or why it does not import.

    Attributes:
        path: of the file that was imported; empty where it failed.
        cuda: that PyTorch was built for; empty for other modules.
        providers: that ONNX Runtime was built with; empty for other modules.
        failure: one line; empty where it imported.
    """

    module: str
    version: str = ""
    path: str = ""
    cuda: str = ""
    providers: tuple[str, ...] = ()
    failure: str = ""

    def lies_in(self, folder: Path) -> bool:
        """Whether the module was taken from a folder."""
        return bool(self.path) and Path(self.path).resolve().is_relative_to(folder.resolve())


def imported(modules: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[Imported]:
    """Return what came of importing each module in a process with these variables, started in a folder without any."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda module: _imported(module, environment, folder), modules))


def cuda_refusal(environment: Mapping[str, str], folder: Path) -> str | None:
    """Return why an ONNX Runtime that imported can't compute by its CUDA provider, None if it can.

    The provider is listed wherever ONNX Runtime was built with it. Whether the machine has the driver and the libraries
    of CUDA that it needs, in the versions that it needs, shows when a session is opened; ONNX Runtime then says what it
    lacks and goes on without CUDA.
    """
    done = _done(_COMPUTE, [_GRAPH, CUDA_PROVIDER], environment, folder)
    return None if done.returncode == 0 else _last_words(done)


def _imported(module: str, environment: Mapping[str, str], folder: Path) -> Imported:
    done = _done(_ASK, [module], environment, folder)
    if done.returncode == 0:
        _, version, path, cuda, providers = done.stdout.splitlines()[-1].split("\t")
        return Imported(module, version, path, cuda, tuple(filter(None, providers.split(","))))
    return Imported(module, failure=_last_words(done))


def _done(
    program: str, words: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    said = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
    return one_line(said[-1])
