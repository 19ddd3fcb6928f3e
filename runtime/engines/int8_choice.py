"""INT8 or the artifact beside it: which of the two is faster on this very device, measured once and kept.

A certificate shows what INT8 loses; what it gains depends on the device, and on some there is no gain at all. So an
INT8 model whose latency nobody measured is timed against its fallback (FP16 of the same checkpoint) at first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kda_edge.certificate import FASTER_BY
from kda_edge.errors import KdaEdgeError
from kda_edge.manifest import Manifest
from kda_edge.paths import is_file

from .artifact import Artifact, read_artifact

UNPROVEN: Final = "that INT8 is faster here is not proven"


def needs_proof(manifest: Manifest) -> bool:
    """Whether a model is INT8 and its certificate holds no latency."""
    certificate = manifest.certificate
    return manifest.precision == "int8" and (certificate is None or certificate.latency is None)


def find_fallback(model: Path, manifest: Manifest) -> Artifact | str:
    """Return the artifact that may stand in for an INT8 model, or one line on why there is none.

    Args:
        model: the INT8 model's file; its fallback lies beside it.
        manifest: of the INT8 model.
    """
    if not manifest.fallback:
        return f"{UNPROVEN}: the model names no other to compare with; export it again with --target tensorrt"
    path = model.parent / manifest.fallback
    if not is_file(path):
        return f"{UNPROVEN}: to have it measured, put {manifest.fallback} of the same export beside {model.name}"
    try:
        found = read_artifact(path)
    except KdaEdgeError as error:
        return f"{UNPROVEN}: the model to compare with can't be used ({error})"
    other = found.manifest
    if (other.checkpoint_sha256, other.tile_px) != (manifest.checkpoint_sha256, manifest.tile_px):
        return f"{UNPROVEN}: {manifest.fallback} is of another checkpoint or tile; put that of the same export there"
    if other.precision == "int8":
        return f"{UNPROVEN}: {manifest.fallback} is INT8 too; put that of the same export there"
    return found


def is_worth_it(int8_ms: float, other_ms: float) -> bool:
    """Whether INT8 saves `FASTER_BY` of the other's time or more."""
    return int8_ms <= (1.0 - FASTER_BY) * other_ms


def decided(latency_ms: Mapping[str, float], other: str) -> bool | None:
    """Whether INT8 was worth it when it was measured against the precision `other`; None: it never was."""
    if not {"int8", other} <= set(latency_ms):
        return None
    return is_worth_it(latency_ms["int8"], latency_ms[other])


def explanation(latency_ms: Mapping[str, float], other: str, fallback: str) -> str:
    """Return the decision as one line, with the figures."""
    int8_ms, other_ms = latency_ms["int8"], latency_ms[other]
    figures = f"{int8_ms:.2f} ms against {other_ms:.2f} ms of {other.upper()} on this device"
    if is_worth_it(int8_ms, other_ms):
        return f"INT8 is used: {figures}"
    return f"INT8 is not {FASTER_BY:.0%} faster here ({figures}), so {fallback} is used in its place"
