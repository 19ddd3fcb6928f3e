"""Checks a portable graph against the one that it was made of, before it is written; nothing does so afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from kda_edge.errors import ExportError, ParityError, one_line
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.onnxruntime_engine import session_options
from kda_edge.tiling.certificate_tiles import Tile

from .verifying.compared_engines import engine_from_graph

# Raw pixels are computed back from shares of their range in float32; the rest is the same graph.
MAX_ABS: Final = 1e-4


def require_same_answers(
    portable: onnx.ModelProto, graph: onnx.ModelProto, manifest: Manifest, tiles: Sequence[Tile]
) -> None:
    """Compare both classes of a portable graph with the probability of the certified graph it was made of.

    Args:
        portable: of `portable_graph`.
        graph: certified, raw pixels to probability.
        manifest: of the graph.
        tiles: to compare on.

    Raises:
        ExportError: ONNX Runtime refuses a graph.
        ParityError: the answers differ.
    """
    try:
        session = ort.InferenceSession(
            portable.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise ExportError(f"ONNX Runtime refuses the portable graph: {one_line(error)}") from error
    engine = engine_from_graph(graph)
    low, high = manifest.input.value_range
    name = session.get_inputs()[0].name
    for tile in tiles:
        shares = (tile.pixels[None].astype(np.float64) - low) / (high - low)
        (classes,) = session.run(None, {name: shares.astype(np.float32)})
        expected = engine(tile.pixels[None]).astype(np.float64)
        distance = float(np.abs(classes - np.concatenate([1.0 - expected, expected], axis=1)).max())
        if not distance <= MAX_ABS:
            raise ParityError(
                f"the portable graph differs by {distance:g} from the artifact's on the tile {tile.name!r}; nothing "
                "was written: export without --portable, or with another version of onnxruntime"
            )
