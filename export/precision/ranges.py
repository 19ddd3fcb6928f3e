"""Ranges of a graph's activations on real tiles: what INT8 has to hold.

Two passes over the tiles, one tile at a time: the largest magnitude of every tensor, then a histogram of magnitudes
up to it. So memory is the activations of one tile and a few thousand bins a tensor, and neither the order nor the
number of tiles changes the bins.

`onnxruntime.quantization` has calibrators for the same three methods. They are not used: its entropy method starts
from as many bins as int8 has levels, so that at its defaults it has nothing to choose from; its histograms take their
bins from the first tile and grow without bound if that one is dark; and it writes files and prints. The tests hold
these ranges to its.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from kda_edge.errors import ExportError, UsageError, one_line
from kda_edge.manifest import INPUT_NAME
from kda_edge.progress.callbacks import Progress, counted, silent
from kda_edge.tiling.certificate_tiles import Tile

from ..graphs.graph_view import GraphView
from .int8 import LEVELS, Ranges, candidates

BINS: Final = 2048
PERCENTILE: Final = 99.999  # of the magnitudes; with 99.99 the bundled student was a third further off
ENTROPY_VALUES_MIN: Final = 8 * BINS  # fewer make a histogram of holes, whose divergence is noise: all are held then
ENTROPY_STEP_BINS: Final = 8  # between thresholds that are tried: a 256th of the range
EMPTY: Final = 1e-4  # counts that a bin has at least in a quotient, so that a clipped value costs much and not all

Histogram = NDArray[np.int64]


def minmax(_: Histogram) -> float:
    """Return the share of the range that holds every value: all of it."""
    return 1.0


def percentile(counts: Histogram) -> float:
    """Return the share of the range that holds `PERCENTILE` of the values, 0..1, to the bin."""
    held = np.cumsum(counts)
    return float(np.searchsorted(held, held[-1] * (PERCENTILE / 100.0)) + 1) / len(counts)


def entropy(counts: Histogram) -> float:
    """Return the share of the range, 0..1, at which int8 keeps most of the distribution of the values.

    For each threshold the values beyond it are clipped, those below are put into `LEVELS` + 1 levels, and the
    Kullback-Leibler divergence of the levels from what was clipped is taken; the least wins.

    Source: Migacz 2017, "8-bit inference with TensorRT".
    """
    if counts.sum() < ENTROPY_VALUES_MIN:
        return 1.0
    levels = LEVELS + 1
    ends = range(levels, len(counts) + 1, ENTROPY_STEP_BINS)
    return min(ends, key=lambda end: _divergence(counts, end, levels)) / len(counts)


METHODS: Final[dict[str, Callable[[Histogram], float]]] = {
    "minmax": minmax,
    "entropy": entropy,
    "percentile": percentile,
}


def measured_ranges(
    model: onnx.ModelProto, tiles: Sequence[Tile], method: str, *, progress: Progress = silent
) -> Ranges:
    """Return how far the inputs of every node that may be quantised reach on `tiles`, in float32 on the CPU.

    Args:
        model: float32, with the input `image`.
        tiles: at least one.
        method: one of `METHODS`.
        progress: told of the tiles that are done.

    Raises:
        UsageError: no such method.
        ExportError: no tile, ONNX Runtime refuses the graph, or an activation is infinite.
    """
    if method not in METHODS:
        raise UsageError(f"there is no calibration method {method!r}; give one of {', '.join(METHODS)}")
    if not tiles:
        raise ExportError("there is no tile to calibrate on; give --calib imagery with data")
    activations = _Activations(model)
    largest = dict.fromkeys(activations.names, np.float32(0))
    for tile in counted(tiles, "largest values, tiles", progress):
        for name, values in activations.of(tile):
            largest[name] = np.maximum(largest[name], np.abs(values).max())  # which keeps what is no number
    shares = dict.fromkeys(activations.names, 1.0)
    if METHODS[method] is not minmax:
        counts = {name: np.zeros(BINS, np.int64) for name in activations.names}
        for tile in counted(tiles, "histograms of values, tiles", progress):
            for name, values in activations.of(tile):
                if np.isfinite(largest[name]) and largest[name] > 0:
                    counts[name] += histogram(values, float(largest[name]))
        shares = {name: METHODS[method](found) if found.any() else 1.0 for name, found in counts.items()}
    return Ranges(method, {name: float(largest[name]) * shares[name] for name in activations.names})


def histogram(values: NDArray[np.float32], largest: float) -> Histogram:
    """Return how many magnitudes lie in each of `BINS` equal parts of 0..`largest`."""
    # In float32 and by bincount: the same to a rounding at the edges as numpy's histogram, and several times as fast.
    bins = (np.abs(values, dtype=np.float32) * np.float32(BINS / largest)).astype(np.int32)
    return np.bincount(np.minimum(bins, BINS - 1).reshape(-1), minlength=BINS).astype(np.int64)


class _Activations:
    """A session that answers with the inputs of what may be quantised."""

    def __init__(self, model: onnx.ModelProto) -> None:
        view, chosen = GraphView.of(model), set(candidates(model))
        self.names = list(dict.fromkeys(node.input[0] for node in view.nodes if node.name in chosen))
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        inputs = {value.name for value in model.graph.input}
        self._fetched = [name for name in self.names if name not in inputs]
        opened.graph.ClearField("output")
        opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in self._fetched)
        options = ort.SessionOptions()
        # Nothing but constants is folded, lest a tensor be computed in another way than its name says.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own classes share no public base
            raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {one_line(error)}") from error

    def of(self, tile: Tile) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield each tensor by name."""
        image = tile.pixels[None]
        answers = dict(zip(self._fetched, self._session.run(self._fetched, {INPUT_NAME: image}), strict=True))
        for name in self.names:
            yield name, answers.get(name, image)


def _divergence(counts: Histogram, end: int, levels: int) -> float:
    """Return the Kullback-Leibler divergence, nats, of the first `end` bins in levels from the values clipped there."""
    kept = counts[:end].astype(np.float64)
    clipped = kept.copy()
    clipped[-1] += counts[end:].sum()
    starts = np.arange(levels) * end // levels
    sizes = np.diff(starts, append=end)
    held = np.add.reduceat((kept > 0).astype(np.float64), starts)
    mean = np.add.reduceat(kept, starts) / np.maximum(held, 1.0)  # a level gives its values to its bins that had some
    spread = np.where(kept > 0, np.repeat(mean, sizes), 0.0)
    there = clipped > 0
    wanted, found = clipped[there], np.maximum(spread[there], EMPTY)
    wanted, found = wanted / wanted.sum(), found / found.sum()
    return float(np.sum(wanted * np.log(wanted / found)))
