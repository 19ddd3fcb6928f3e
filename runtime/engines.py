"""ONNX Runtime behind the core's one-call engine protocol, and the manifest inside the model file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from kda_edge.errors import ArtifactError, EngineError, ManifestError, NewerManifest
from kda_edge.manifest import METADATA_KEY, Manifest

BUNDLED: Final = "bundled/student_nano.onnx"
INPUT: Final = "image"
OUTPUT: Final = "probability"
_EXPORT: Final = "export it with: kda-export --ckpt student.pt"
_ERRORS_ONLY_RAISED: Final = 4  # ONNX Runtime's log level "fatal": errors reach us as exceptions, not on stderr


class OnnxRuntimeEngine:
    """A model file on the CPU: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        manifest: what the file says of itself.
    """

    def __init__(self, session: Any, manifest: Manifest) -> None:
        self._session = session
        self.manifest = manifest

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: ONNX Runtime refused or failed.
        """
        try:
            (probability,) = self._session.run([OUTPUT], {INPUT: tiles})
        except Exception as error:  # the runtime's own classes share no public base
            raise EngineError(f"ONNX Runtime failed ({_reason(error)}); export the model again") from error
        return np.asarray(probability, np.float32)


def open_engine(model: Path | None = None) -> OnnxRuntimeEngine:
    """Open a model file for the CPU, its manifest checked.

    Args:
        model: an `.onnx` file made by `kda-export`; None opens the bundled student.

    Raises:
        ArtifactError: no such file, no ONNX model, none of ours, or not verified.
        ManifestError: the file's manifest does not fit its schema.
        NewerManifest: the file is from a later kda-edge.
    """
    if model is None:
        with resources.as_file(resources.files("kda_edge.runtime").joinpath(BUNDLED)) as bundled:
            if not bundled.is_file():
                raise ArtifactError("this installation has no bundled model; give one with --model")
            return _open(bundled)
    if not model.exists():
        raise ArtifactError(f"{model} does not exist; check the path of the model")
    return _open(model)


def _open(path: Path) -> OnnxRuntimeEngine:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY_RAISED
    options.use_deterministic_compute = True
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own classes share no public base
        raise ArtifactError(f"{path} is no ONNX model that can be opened ({_reason(error)}); {_EXPORT}") from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ArtifactError(f"{path} has no kda-edge manifest, so its bands and values are unknown; {_EXPORT}")
    try:
        manifest = Manifest.from_json(text)
    except NewerManifest:
        raise
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}; {_EXPORT}") from error
    if not manifest.parity.holds:
        raise ArtifactError(f"{path} was never shown to answer as its checkpoint does; {_EXPORT}")
    tile_px = manifest.tile_px
    _require_port(path, "input", session.get_inputs(), INPUT, (3, tile_px, tile_px))
    _require_port(path, "output", session.get_outputs(), OUTPUT, (1, tile_px, tile_px))
    return OnnxRuntimeEngine(session, manifest)


def _require_port(path: Path, role: str, ports: list[Any], name: str, shape: tuple[int, int, int]) -> None:
    """Hold the graph to what its manifest says; a size that the graph leaves open is checked with every tile."""
    found = [(port.name, port.type, tuple(port.shape)) for port in ports]
    if len(found) == 1 and found[0][:2] == (name, "tensor(float)") and len(found[0][2]) == 4:
        batch, *rest = found[0][2]
        open_batch = not isinstance(batch, int) or batch == 1
        if open_batch and all(not isinstance(a, int) or a == b for a, b in zip(rest, shape, strict=True)):
            return
    ports_found = ", ".join(f"{n} {kind} {list(s)}" for n, kind, s in found)
    raise ArtifactError(
        f"{path} has the {role} {ports_found} where its manifest asks for {name} tensor(float) "
        f"[N, {', '.join(map(str, shape))}]; {_EXPORT}"
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
