"""Lowers the precision of a float32 graph within its budget; sensitive layers are found and kept out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from kda_edge.artifact_bytes import graph_digest
from kda_edge.certificate import Budget, Calibration, Certificate
from kda_edge.progress.callbacks import Progress, silent

from .config import CalibrationConfig
from .precision.fp16 import half_graph
from .precision.half_plan import half_plan
from .precision.int8 import CPU_OPERATORS, OPERATORS, candidates, quantised_graph
from .precision.ranges import measured_ranges
from .precision.sensitivity import groups_of, search
from .tiles.calibration_tiles import calibration_tiles
from .verifying.verifier import Verifier, require_answers

Log = Callable[[str], None]
Pass = Callable[[onnx.ModelProto], onnx.ModelProto]
OnDevices = Callable[["Lowered"], float]  # the share of a device's budget that a graph uses there, 0..inf


def unchanged(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph: no last pass."""
    return graph


def nothing(_: Lowered) -> float:
    """Return 0: no device holds the graph to anything."""
    return 0.0


@dataclass(frozen=True)
class Lowered:
    """A graph, and what the manifest says of how it came to be.

    Attributes:
        graph: within its budget.
        certificate: of its answers; nothing is said of latency yet.
        islands: modules that the search kept out of the precision, the most sensitive first.
        calibration: of an INT8 graph.
    """

    graph: onnx.ModelProto
    certificate: Certificate
    islands: tuple[str, ...] = ()
    calibration: Calibration | None = None


def as_it_is(
    graph: onnx.ModelProto,
    verifier: Verifier,
    budget: Budget,
    *,
    last: Pass = unchanged,
    progress: Progress = silent,
) -> Lowered:
    """Certify a float32 graph after its last pass.

    Raises:
        ParityError: it does not answer as PyTorch does.
    """
    graph = last(graph)
    certificate = verifier.certificate(graph, budget, progress=progress)
    require_answers(certificate)
    return Lowered(graph, certificate)


def in_half(
    graph: onnx.ModelProto,
    verifier: Verifier,
    budget: Budget,
    *,
    log: Log,
    last: Pass = unchanged,
    on_devices: OnDevices = nothing,
    progress: Progress = silent,
) -> Lowered:
    """Return the graph in FP16, with as few islands of FP32 as its budget needs, and a device's; `last` ends it.

    Raises:
        ParityError: no number of islands holds the budget; the worst layers are named.
    """

    def build(islands: frozenset[str]) -> onnx.ModelProto:
        return last(half_graph(graph, islands=islands))

    # Layers that are float32 by rule are no candidates; with all of the others kept out the graph is float32.
    in_question = set(half_plan(graph).half_nodes)
    groups = groups_of(graph, lambda node: node.name in in_question)
    return _searched(build, groups, verifier, budget, log=log, on_devices=on_devices, progress=progress)


def in_int8(
    graph: onnx.ModelProto,
    verifier: Verifier,
    budget: Budget,
    *,
    target: str,
    config: CalibrationConfig,
    log: Log,
    last: Pass = unchanged,
    progress: Progress = silent,
) -> Lowered:
    """Return the graph in INT8, amid FP16 for TensorRT and FP32 for CPU engines; `last` changes it at the end.

    Raises:
        SceneError: the imagery to calibrate on can't be used.
        ParityError: no number of layers kept out holds the budget; the worst are named.
    """
    assert config.imagery is not None  # ExportConfig demands it
    progress("drawing tiles to calibrate on", 0, 0)
    drawn = calibration_tiles(
        config.imagery,
        verifier.contract,
        verifier.tile_px,
        count=config.count,
        seed=config.seed,
        probability=verifier.reference.engine,
        threshold=verifier.threshold,
    )
    operators = OPERATORS if target == "tensorrt" else CPU_OPERATORS
    log(f"measuring ranges on {len(drawn.tiles)} tiles ({config.method})")
    ranges = measured_ranges(graph, drawn.tiles, config.method, progress=progress)

    def build(kept_out: frozenset[str]) -> onnx.ModelProto:
        quantised = quantised_graph(graph, ranges, kept_out=kept_out, operators=operators)
        return last(half_graph(quantised) if target == "tensorrt" else quantised)

    chosen = set(candidates(graph, operators=operators))
    groups = groups_of(graph, lambda node: node.name in chosen)
    found = _searched(build, groups, verifier, budget, log=log, progress=progress)
    calibration = Calibration(config.method, config.seed, drawn.counts, tuple(tile.sha256 for tile in drawn.tiles))
    return Lowered(found.graph, found.certificate, found.islands, calibration)


def _searched(
    build: Callable[[frozenset[str]], onnx.ModelProto],
    groups: tuple[str, ...],
    verifier: Verifier,
    budget: Budget,
    *,
    log: Log,
    on_devices: OnDevices = nothing,
    progress: Progress,
) -> Lowered:
    by_digest: dict[str, Certificate] = {}

    def used(graph: onnx.ModelProto) -> float:
        certificate = verifier.certificate(graph, budget)
        by_digest[certificate.graph_sha256] = certificate
        if certificate.used > 1.0:
            return certificate.used  # it won't be written, and a device's comparison takes longer than the certificate
        return max(certificate.used, on_devices(Lowered(graph, certificate)))

    found = search(build, groups, used, allowed=1.0, log=log, progress=progress)
    certificate = by_digest[graph_digest(found.graph.SerializeToString(deterministic=True))]
    require_answers(certificate, [group for group, _ in found.ranking])
    return Lowered(found.graph, certificate, found.kept_out)
