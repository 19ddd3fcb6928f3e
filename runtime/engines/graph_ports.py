"""Names, types and shapes of a graph's input and output, held to the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from kda_edge.errors import ArtifactError
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME, Manifest

from .artifact import EXPORT

FLOAT: Final = "float32"


class Port(NamedTuple):
    """An input or output as an engine reports it.

    Attributes:
        name: of the tensor.
        kind: `FLOAT`, or what the engine calls another type.
        shape: a number where the graph fixes a side, anything else where it leaves it open.
    """

    name: str
    kind: str
    shape: Sequence[Any]


def require_ports(path: Path, manifest: Manifest, inputs: Sequence[Port], outputs: Sequence[Port]) -> int | None:
    """Hold a graph to what its manifest says; a size that it leaves open is checked with every tile.

    Returns:
        1 where the graph takes one tile at a time, None where it takes any number.

    Raises:
        ArtifactError: other ports than those of the manifest.
    """
    tile_px = manifest.tile_px
    _require(path, "input", inputs, INPUT_NAME, (3, tile_px, tile_px))
    _require(path, "output", outputs, OUTPUT_NAME, (1, tile_px, tile_px))
    return 1 if inputs[0].shape[0] == 1 else None


def _require(path: Path, role: str, ports: Sequence[Port], name: str, shape: tuple[int, int, int]) -> None:
    if len(ports) == 1 and ports[0][:2] == (name, FLOAT) and len(ports[0].shape) == 4:
        batch, *rest = ports[0].shape
        open_batch = not isinstance(batch, int) or batch == 1
        if open_batch and all(not isinstance(a, int) or a == b for a, b in zip(rest, shape, strict=True)):
            return
    found = ", ".join(f"{port.name} {port.kind} {list(port.shape)}" for port in ports)
    raise ArtifactError(
        f"{path} has the {role} {found} where its manifest asks for {name} {FLOAT} "
        f"[N, {', '.join(map(str, shape))}]; {EXPORT}"
    )
