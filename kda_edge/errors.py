"""Every error that a user of kda-edge can cause, in one tree.

    KdaEdgeError
    ├── MissingDependency (ImportError)      an optional package is not installed
    ├── UsageError (ValueError)              an option or argument that can't be right; exit code 2
    ├── UnsupportedSize (ValueError)         an image the network's strides do not divide
    ├── CheckpointError (ValueError)         a .pt file that is not a student
    ├── ManifestError (ValueError)           a manifest that does not fit its schema
    │   └── NewerManifest                    written by a later kda-edge
    ├── ArtifactError (ValueError)           an .onnx file that the runtime can't take
    │   └── Unverified                       its certificate is missing, fails or is of another graph
    ├── DataError (ValueError)               training images or masks that contradict what was declared
    ├── TrainingError (RuntimeError)         a run that can't start, go on or be resumed
    ├── ExportError (RuntimeError)           a graph that can't be made
    │   ├── ParityError                      a graph that does not answer as PyTorch does
    │   └── NotFaster                        INT8 that gains too little over another precision
    ├── SceneError (ValueError)              a raster that can't be read as a scene
    ├── VideoError (OSError)                 a camera, stream, video or frame that can't be had
    ├── EngineError (RuntimeError)           the engine failed on tiles that it should take
    │   ├── NoAnswer                         to one tile it has no answer, or one that is no probability
    │   └── DeviceError                      the engine can't be had on this device
    │       ├── NoDriver, NoDevice           no NVIDIA driver, or no GPU behind it
    │       ├── TooOld                       a driver or library older than what is needed
    │       ├── OutOfDeviceMemory            the GPU's memory does not suffice
    │       ├── BuildRefused                 TensorRT makes no engine of this graph
    │       ├── PrecisionLost                an engine that is mostly not in the precision that was asked for
    │       ├── WrongAnswers                 an engine that answers otherwise than ONNX Runtime on the CPU
    │       └── ProviderFellBack             ONNX Runtime went on without the GPU that it was asked to use
    ├── OutputError (OSError)                a map that can't be written where it was asked for
    ├── JournalError (RuntimeError)          finished rows of another run, or shards that do not belong together
    ├── KitError (RuntimeError)              a kit that can't be collected, or put together from its parts
    └── Cancelled (RuntimeError)             the caller asked a run to stop

Each message is one line: what is wrong, then what to do. Commands print it and exit with 1 (`UsageError`: 2).
Each class is also the builtin that a caller without knowledge of kda-edge would catch.
"""

from __future__ import annotations

import re
from typing import Final


class KdaEdgeError(Exception):
    """Base of every error that kda-edge raises on purpose."""


class MissingDependency(KdaEdgeError, ImportError):
    """An optional package is needed and is not installed."""

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'kda-edge[{extra}]'")
        self.package, self.extra = package, extra


class UsageError(KdaEdgeError, ValueError):
    """An option or argument that can't be right, whatever the files hold."""


class UnsupportedSize(KdaEdgeError, ValueError):
    """An image whose sides the network's strides do not divide."""

    def __init__(self, *, height_px: int, width_px: int, multiple_px: int) -> None:
        def up(side_px: int) -> int:
            return max(multiple_px, -(-side_px // multiple_px) * multiple_px)

        super().__init__(
            f"the network takes sides that are multiples of {multiple_px} px, not {height_px} x {width_px}; "
            f"pad the image to {up(height_px)} x {up(width_px)} px"
        )
        self.height_px, self.width_px, self.multiple_px = height_px, width_px, multiple_px


class CheckpointError(KdaEdgeError, ValueError):
    """A file that does not hold a student."""


class ManifestError(KdaEdgeError, ValueError):
    """A manifest that does not fit its schema; the message names the field."""


class NewerManifest(ManifestError):
    """A manifest whose schema is newer than this package knows."""

    def __init__(self, *, schema_version: int, known_version: int) -> None:
        super().__init__(
            f"the manifest has schema version {schema_version} and this kda-edge knows up to {known_version}; "
            "upgrade with: pip install -U kda-edge"
        )
        self.schema_version, self.known_version = schema_version, known_version


class ArtifactError(KdaEdgeError, ValueError):
    """A model file that the runtime can't take."""


class Unverified(ArtifactError):
    """A model file without evidence that this very graph answers as its checkpoint does."""


class DataError(KdaEdgeError, ValueError):
    """Training data that contradicts what was declared; the message names the file."""


class TrainingError(KdaEdgeError, RuntimeError):
    """A training run that can't start, go on or be resumed."""


class ExportError(KdaEdgeError, RuntimeError):
    """A checkpoint that can't be turned into an artifact; nothing was written."""


class ParityError(ExportError):
    """An exported graph that does not answer as PyTorch does; nothing was written."""


class NotFaster(ExportError):
    """INT8 that gains too little over another precision to be worth its loss; nothing was written."""


class SceneError(KdaEdgeError, ValueError):
    """A raster that can't be read as a scene for this model."""


class VideoError(KdaEdgeError, OSError):
    """A camera, stream on the network, video or image file that gives no frames, or no more."""


class EngineError(KdaEdgeError, RuntimeError):
    """The inference engine failed on tiles that it should take."""


class NoAnswer(EngineError):
    """An engine without an answer to a tile, or with one that is no probability."""

    def __init__(self, tile: str, reason: str) -> None:
        super().__init__(f"an engine has no answer to the tile {tile!r} ({reason}); use --engine cpu")
        self.tile, self.reason = tile, reason


class DeviceError(EngineError):
    """An engine that can't be had on this device; found before the device is touched where that can be."""


class NoDriver(DeviceError):
    """No NVIDIA driver, or one that does not start."""


class NoDevice(DeviceError):
    """A driver, and no GPU behind it."""


class TooOld(DeviceError):
    """A driver or library older than what is needed."""


class OutOfDeviceMemory(DeviceError):
    """The GPU's memory does not suffice."""


class BuildRefused(DeviceError):
    """TensorRT makes no engine of this graph."""


class PrecisionLost(DeviceError):
    """An engine whose layers are mostly not in the precision that was asked for."""


class WrongAnswers(DeviceError):
    """An engine whose answers lie farther from ONNX Runtime's on the CPU than the model's certificate allows."""


class ProviderFellBack(DeviceError):
    """ONNX Runtime went on without the provider that it was asked for, which it does in silence."""


class OutputError(KdaEdgeError, OSError):
    """A map that can't be written where it was asked for; nothing is left under its final name."""


class JournalError(KdaEdgeError, RuntimeError):
    """Finished rows on disk that this run can't go on from, or shards that do not make one map."""


class KitError(KdaEdgeError, RuntimeError):
    """A kit for a machine without a registry that can't be collected, or put together from the parts at hand."""


class Cancelled(KdaEdgeError, RuntimeError):
    """The caller asked a run to stop; its finished rows are kept, and nothing is under a final name."""


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun, for a message of ours: `1 band`, `3 bands`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of terminals: PyTorch's exporter prints its headings in them


def one_line(error: BaseException | str, at_most: int = 200) -> str:
    """Return the reason that somebody else's error gives, on one line, for a message of ours.

    That is what the system says (`OSError.strerror`, without the path, which our message names anyway), else the first
    line that says something, with the next one where it ends in a colon: traces and hints come below. Of a text, such
    as a library's log, it is every line.

    Args:
        error: of any library; its text may be empty or hold control characters.
        at_most: characters, 4 or more; a longer reason ends in `...`.

    Returns:
        Printable, without line breaks; the name of the error's class where it says nothing.
    """
    if isinstance(error, str):
        line = _printable(error)
    elif isinstance(error, OSError) and error.strerror:
        line = _printable(str(error.strerror))
    else:
        lines = filter(None, map(_printable, str(error).splitlines()))
        line = next(lines, type(error).__name__)
        if line.endswith(":"):  # a heading, as PyTorch's of a state dict that does not fit
            line = f"{line} {next(lines, '')}".rstrip()
    return line if len(line) <= at_most else line[: at_most - 3] + "..."


def _printable(text: str) -> str:
    plain = _COLOURS.sub("", text)
    return " ".join("".join(char if char.isprintable() else " " for char in plain).split())
