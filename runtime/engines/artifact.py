"""The model file as the runtime takes it: manifest read, certificate demanded, before any engine sees it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from kda_edge.artifact_bytes import graph_digest, metadata_of
from kda_edge.errors import ArtifactError, ManifestError, NewerManifest, Unverified
from kda_edge.manifest import METADATA_KEY, Manifest
from kda_edge.paths import exists, is_file, is_utf8

BUNDLED: Final = "bundled/student_lite0.onnx"
PORTABLE_KEYS: Final = {"model_type", "class_names", "tiles_overlap"}  # of what `kda-export --portable` writes
EXPORT: Final = "export it with: kda-export --ckpt student.pt"


@dataclass(frozen=True)
class Artifact:
    """A model file and what is known of it.

    Attributes:
        path: of the file.
        manifest: what it says of itself.
        graph_sha256: digest of the file without its metadata, as it is on disk.
        doubt: why it counts as unverified, a clause; empty: its certificate holds, for this very graph.
    """

    path: Path
    manifest: Manifest
    graph_sha256: str
    doubt: str = ""


def read_artifact(path: str | Path | None = None, *, allow_unverified: bool = False) -> Artifact:
    """Read what a model file says of itself, and hold it to its certificate.

    Args:
        path: an `.onnx` file made by `kda-export`; None is the bundled student.
        allow_unverified: return an artifact without valid evidence too, with its doubt.

    Raises:
        ArtifactError: no such file, no ONNX model, or none of ours.
        Unverified: the certificate is missing, fails, or is of another graph.
        ManifestError: the file's manifest does not fit its schema.
        NewerManifest: the file is from a later kda-edge.
    """
    if path is None:
        # Wheels are installed as files, so that the path outlives this block.
        with resources.as_file(resources.files("kda_edge.runtime").joinpath(BUNDLED)) as bundled:
            if not is_file(bundled):
                raise ArtifactError("this installation has no bundled model; give one with --model")
            path = bundled
    path = Path(path)
    if not exists(path):
        raise ArtifactError(f"{path} does not exist; check the path of the model")
    if not is_utf8(path):
        raise ArtifactError(f"{str(path)!r} has a name that is not UTF-8, which ONNX Runtime can't open; rename it")
    metadata, graph_sha256 = _read(path)
    manifest = _manifest(path, metadata)
    doubt = _doubt(manifest, graph_sha256)
    if doubt and not allow_unverified:
        raise Unverified(f"{path}: {doubt}; {EXPORT}, or allow it with --allow-unverified")
    return Artifact(path, manifest, graph_sha256, doubt)


def _read(path: Path) -> tuple[dict[str, str], str]:
    """Return metadata and digest of the graph; the file is mapped, not loaded."""
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # unmapped when out of use
        return metadata_of(content), graph_digest(content)
    except (OSError, ValueError) as error:  # a folder, unreadable; an empty file can't be mapped
        reason = error if isinstance(error, ArtifactError) else getattr(error, "strerror", None) or "it is empty"
        raise ArtifactError(f"{path} is no ONNX model that can be opened ({reason}); {EXPORT}") from error


def _manifest(path: Path, metadata: dict[str, str]) -> Manifest:
    text = metadata.get(METADATA_KEY)
    if text is None and metadata.keys() >= PORTABLE_KEYS:
        raise ArtifactError(
            f"{path} is a portable model, for QGIS Deepness and WebODM; kda-infer takes the one that kda-export writes "
            "without --portable"
        )
    if text is None:
        raise ArtifactError(f"{path} has no kda-edge manifest, so its bands and values are unknown; {EXPORT}")
    try:
        return Manifest.from_json(text)
    except NewerManifest:
        raise
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}; {EXPORT}") from error


def _doubt(manifest: Manifest, graph_sha256: str) -> str:
    certificate = manifest.certificate
    if certificate is None:
        return "it has no certificate, so it was never shown to answer as its checkpoint does"
    if certificate.graph_sha256 != graph_sha256:
        return "its graph is not the one that its certificate is about: it was changed or damaged after the export"
    if certificate.failures:
        return f"its certificate does not hold: {certificate.failures[0]}"
    return ""
