"""Checks a portable graph against the runtime's own answers before it is written; nothing does so afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from kda_edge.errors import ExportError, ParityError, one_line
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.onnxruntime_engine import session_options
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.fill_nodata import fill_nodata
from kda_edge.tiling.tile_answers import Engine

from .verifying.compared_engines import engine_from_graph

# Raw pixels are computed back from shares of their range in float32; the rest is the same graph.
MAX_ABS: Final = 1e-4
# Of tiles with missing pixels, the mean difference where there is data, over all of them. The graph fills almost as the
# runtime does: of 60 tiles from borders of drone images, 0.005. Black pixels make 0.25, the mean of the tile 0.12.
MAX_MEAN_FILLED: Final = 0.03

_AGAIN: Final = "nothing was written: export without --portable, or with another version of onnxruntime"


def require_same_answers(
    portable: onnx.ModelProto, graph: onnx.ModelProto, manifest: Manifest, tiles: Sequence[Tile]
) -> None:
    """Compare both classes of a portable graph with what the runtime makes of the certified graph it was made of.

    That is: missing pixels are filled before the network and are no landslide, and the threshold is at 0.5.

    Args:
        portable: of `portable_graph`.
        graph: certified, raw pixels to probability.
        manifest: of the graph.
        tiles: to compare on, as they are and with a part of each missing.

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
    engine, name = engine_from_graph(graph), session.get_inputs()[0].name
    low, high = manifest.input.value_range
    filled: list[float] = []
    for tile in _with_missing(tiles, low):
        shares = ((tile.pixels.astype(np.float64) - low) / (high - low)).astype(np.float32)
        (classes,) = session.run(None, {name: shares[None]})
        valid = np.asarray((shares > 0).any(axis=0))
        landslide = _expected(engine, tile.pixels, valid, manifest.threshold)
        apart = np.abs(classes[0] - np.stack([1.0 - landslide, landslide])).max(axis=0)
        exact = apart if valid.all() else apart[~valid]
        if not np.all(exact <= MAX_ABS):
            raise ParityError(
                f"the portable graph differs by {exact.max():g} from the artifact's on the tile {tile.name!r}; {_AGAIN}"
            )
        if valid.any() and not valid.all():
            filled.append(float(apart[valid].mean()))
    if filled and not np.mean(filled) <= MAX_MEAN_FILLED:
        raise ParityError(
            f"the portable graph differs by {np.mean(filled):g} in the mean from the runtime beside missing pixels; "
            f"{_AGAIN}"
        )


def _expected(engine: Engine, pixels: NDArray[Any], valid: NDArray[np.bool_], threshold: float) -> NDArray[np.float64]:
    """Return what the landslide channel must say, (T, T): 0.5 where the runtime's probability is its threshold."""
    image = fill_nodata(np.ascontiguousarray(pixels.transpose(1, 2, 0)), valid)
    probability = engine(np.ascontiguousarray(image.transpose(2, 0, 1))[None])[0, 0].astype(np.float64)
    odds_for, odds_against = probability * (1.0 - threshold), (1.0 - probability) * threshold
    return np.where(valid, odds_for / (odds_for + odds_against), 0.0)


def _with_missing(tiles: Sequence[Tile], low: float) -> Iterator[Tile]:
    """Yield each tile, then with a slanting border and two holes as an orthophoto has them."""
    for tile in tiles:
        yield tile
        side_px = tile.pixels.shape[-1]
        row, col = np.indices((side_px, side_px)) / side_px
        missing = (row + 0.5 * col < 0.4) | (np.hypot(row - 0.7, col - 0.3) < 0.1) | ((row > 0.85) & (col > 0.8))
        yield Tile(f"{tile.name}, partly missing", np.where(missing, np.float32(low), tile.pixels))
