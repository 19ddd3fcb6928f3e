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
# A provider's library is opened with a session, and looks for the other one among what is loaded already.
_OPEN: Final = """
import ctypes, sys
for path in sys.argv[1:]:
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
"""
_CUDA_LIBRARIES: Final = ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so")


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


def cuda_refusal(onnxruntime: Imported, environment: Mapping[str, str], folder: Path) -> str | None:
    """Return why the CUDA provider of an ONNX Runtime that imported can't be opened, None if it can.

    The provider is listed wherever ONNX Runtime was built with it. Whether the machine has the driver and the libraries
    of CUDA that it needs, in the versions that it needs, shows when it is opened; cuDNN comes with the first session.
    """
    libraries = Path(onnxruntime.path).parent / "capi"
    done = _done(_OPEN, [str(libraries / name) for name in _CUDA_LIBRARIES], environment, folder)
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
