"""Half precision against the budget of a device: would a GPU's engine be refused for rounding as half hardware does?

Before a GPU's engine maps, the device compares it with ONNX Runtime on its CPU and holds each tile to the budget
(docs/adr/0007). A certificate limits what all tiles lose together, so that a graph could hold its own and be refused by
every device. Here the same comparison is made on a CPU, with each half tensor rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import NoAnswer
from kda_edge.manifest import Manifest
from kda_edge.runtime.parity.device_parity import parity_with_cpu
from kda_edge.tiling.tile_answers import Engine

from .compared_engines import ToEngine, engine_from_graph
from .half_rounding import rounded_graph


def used_on_devices(graph: onnx.ModelProto, manifest: Manifest, *, to_engine: ToEngine = engine_from_graph) -> float:
    """Return the largest share of a device's budget that rounding uses on any tile, 0..inf; above 1 it is refused.

    Args:
        graph: as it is written for TensorRT, half or not.
        manifest: that it would be written with, certificate included.
        to_engine: opens a graph.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    cpu, device = to_engine(graph), _AsOnDevice(to_engine(rounded_graph(graph)))
    try:
        parity = parity_with_cpu(cpu, device, manifest, engine="tensorrt", sampling="gather", depends_on={})
    except NoAnswer:
        return math.inf
    return parity.used


@dataclass(frozen=True)
class _AsOnDevice:
    """An engine that may be given any number of tiles, and is given one."""

    engine: Engine
    max_batch: int | None = None

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.engine(tiles)
