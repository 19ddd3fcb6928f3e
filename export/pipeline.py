"""The pipeline of an export, from a checkpoint to a verified artifact: the one function behind `kda-export`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnx

import kda_edge
from kda_edge.certificate import Certificate
from kda_edge.errors import ExportError, UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, weights_digest
from kda_edge.networks.network import Network
from kda_edge.paths import same_file
from kda_edge.progress.callbacks import Progress, silent
from kda_edge.runtime.engines.engine_names import best_engine
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.runtime.parity.gather_sampling import gathered
from kda_edge.tiling.certificate_tiles import Tile, generated_tiles

from .artifact_file import bytes_from_graph, require_writable, staged_file
from .config import ExportConfig
from .graphs.ordered_sums import with_ordered_sums
from .graphs.to_onnx import ExportedGraph, onnx_from_student
from .lint.rules import OPSET, require_clean
from .lower_precision import Log, Lowered, OnDevices, as_it_is, in_half, in_int8
from .portable import portable_graph
from .portable_check import require_same_answers
from .tiles.imagery_tiles import corners_of, example_tiles, imagery_tiles, rasters_of
from .verifying.compared_engines import (
    ToBatchedEngine,
    ToEngine,
    engine_from_graph,
    engine_from_student,
    engines_on_cpu,
)
from .verifying.cpu_latency import latency_on_cpu
from .verifying.half_on_devices import used_on_devices
from .verifying.parity import Reference, measured_parity, worst_tile
from .verifying.verifier import Verifier, require_fast

# A written file is the graph that was compared: the same session gives the same answer, but for the order of threads.
MAX_ABS_AGAIN: Final = 1e-4
NO_LABELS: Final = (
    "without labelled images (--eval DIR) the loss of IoU is not known; instead at most {limit:g}% of the pixels that "
    "were compared may change class"
)
LATENCY_LATER: Final = (
    "latency not measured: TensorRT is not at hand here; the first run on the device measures INT8 against the FP16 "
    "artifact beside it and takes the faster one"
)
LINT_TARGETS: Final = {"any": "tensorrt", "cpu": "cpu", "tensorrt": "tensorrt"}  # any engine: the strictest
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """What an export has written.

    Attributes:
        artifact: the file.
        size_bytes: of the file.
        sha256: digest of the file.
        manifest: what it says of itself, the certificate included.
        nodes_traced: operators in the graph as PyTorch exported it.
        nodes: operators in the graph that was written, onnxsim's folding done.
        notes: what a person should know before using it, a sentence each.
    """

    artifact: Path
    size_bytes: int
    sha256: str
    manifest: Manifest
    nodes_traced: int
    nodes: int
    notes: tuple[str, ...]

    @property
    def certificate(self) -> Certificate:
        """The manifest's; an export without one writes nothing."""
        if self.manifest.certificate is None:
            raise ExportError("the manifest of an export has no certificate")
        return self.manifest.certificate


def export_checkpoint(
    config: ExportConfig,
    *,
    to_graph: Callable[[Network, InputContract, int], ExportedGraph] = onnx_from_student,
    to_engine: ToEngine = engine_from_graph,
    timed_on: Callable[[], Mapping[str, ToBatchedEngine]] = engines_on_cpu,
    log: Log = _log.info,
    progress: Progress = silent,
) -> ExportReport:
    """Export a checkpoint, verify the graph, and only then write the artifact.

    Args:
        config: what is asked for.
        to_graph: makes the float32 graph of a student for a tile side in pixels.
        to_engine: opens a graph for verification.
        timed_on: gives what may run a graph on the CPU, by name; INT8 for the CPU must be faster there.
        log: told of the steps that take long.
        progress: told of what is being done, how much of it, and how much in all; 0: nobody knows.

    Raises:
        CheckpointError: the checkpoint can't be read.
        UsageError: the output would replace the checkpoint.
        SceneError: the imagery to verify or calibrate on can't be used.
        ExportError: PyTorch, onnxsim, the checker or ONNX Runtime refuses, or the lint finds something.
        ParityError: the graph does not answer as PyTorch does.
        NotFaster: an INT8 graph that gains too little.
        OutputError: the artifact can't be written.
    """
    checkpoint = read_checkpoint(config.checkpoint)
    artifact = config.artifact_path
    if same_file(artifact, config.checkpoint):
        raise UsageError(f"the artifact would replace the checkpoint {artifact}; give another name with -o")
    require_writable(artifact)
    contract, notes = _contract(config, checkpoint)
    tile_px = config.tile_px if config.tile_px is not None else checkpoint.tile_px
    threshold = config.threshold if config.threshold is not None else checkpoint.threshold
    tiles = _verification_tiles(config, contract, tile_px)
    if config.calibration.imagery is not None:
        corners_of(rasters_of(config.calibration.imagery)[0], contract, tile_px)  # it can be read, before all work

    progress("tracing the network", 0, 0)
    exported = to_graph(checkpoint.student, contract, tile_px)
    float_graph = exported.model
    require_clean(float_graph)
    reference = Reference(engine_from_student(checkpoint.student, contract), tiles)
    verifier = Verifier(
        reference, contract, tile_px=tile_px, threshold=threshold, labelled=config.labelled, to_engine=to_engine
    )
    target = target_of(config)
    sampling = sampling_of(config, target)
    limit = config.budget.of(config.precision).iou_points
    if limit is not None and config.labelled is None:
        notes = (*notes, NO_LABELS.format(limit=limit))

    def manifest_of(made: Lowered, precision: str, **more: Any) -> Manifest:
        return Manifest(
            variant=checkpoint.student.variant,
            parameters=sum(weight.numel() for weight in checkpoint.student.parameters()),
            checkpoint_sha256=weights_digest(checkpoint.student),
            tile_px=tile_px,
            package_version=kda_edge.__version__,
            certificate=made.certificate,
            input=contract,
            threshold=threshold,
            precision=precision,
            target=target,
            islands=made.islands,
            calibration=made.calibration,
            sampling=sampling,
            opset=OPSET,
            training=checkpoint.training,
            **more,
        )

    def on_devices(made: Lowered) -> float:
        return used_on_devices(made.graph, manifest_of(made, "fp16"), to_engine=to_engine)

    made, fallback = _made(
        config, float_graph, target, verifier, log, timed_on=timed_on, on_devices=on_devices, progress=progress
    )
    progress("writing and opening the artifact", 0, 0)
    require_clean(made.graph, target=LINT_TARGETS[target])
    if fallback is not None:
        notes = (*notes, LATENCY_LATER)

    def report(content: bytes, manifest: Manifest) -> ExportReport:
        return ExportReport(
            artifact=artifact,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            manifest=manifest,
            nodes_traced=exported.nodes_traced,
            nodes=len(made.graph.graph.node),
            notes=notes,
        )

    if config.portable:
        manifest = manifest_of(made, config.precision)
        graph = portable_graph(made.graph, manifest)
        require_same_answers(graph, made.graph, manifest, tiles)
        content = graph.SerializeToString(deterministic=True)
        with staged_file(artifact, content):
            pass
        return report(content, manifest)
    manifest = manifest_of(made, config.precision, fallback=config.fallback_path.name if fallback else "")
    with ExitStack() as both:  # INT8 and its fallback: each takes its name only if the other is complete
        if fallback is not None:
            require_clean(fallback.graph)
            both.enter_context(_staged(config.fallback_path, fallback, manifest_of(fallback, "fp16"), verifier))
        content = both.enter_context(_staged(artifact, made, manifest, verifier))
    return report(content, manifest)


def _made(
    config: ExportConfig,
    graph: onnx.ModelProto,
    target: str,
    verifier: Verifier,
    log: Log,
    *,
    timed_on: Callable[[], Mapping[str, ToBatchedEngine]],
    on_devices: OnDevices,
    progress: Progress,
) -> tuple[Lowered, Lowered | None]:
    """Return the graph in the precision that is asked for, within its budgets, and what falls back for INT8."""
    budget = config.budget.of(config.precision)

    def last(lowered: onnx.ModelProto) -> onnx.ModelProto:
        # The passes of lower precision know positions by their GridSample and sums by ReduceSum: written out last.
        written = gathered(lowered) if sampling_of(config, target) == "gather" else lowered
        return written if target == "tensorrt" else with_ordered_sums(written)

    if config.precision == "fp32":
        return as_it_is(graph, verifier, budget, last=last, progress=progress), None
    if config.precision == "fp16":
        made = in_half(graph, verifier, budget, log=log, last=last, on_devices=on_devices, progress=progress)
        return made, None
    made = in_int8(
        graph, verifier, budget, target=target, config=config.calibration, log=log, last=last, progress=progress
    )
    if target == "tensorrt":
        half = config.budget.of("fp16")
        return made, in_half(graph, verifier, half, log=log, last=last, on_devices=on_devices, progress=progress)
    progress("timing", 0, 0)
    tile = verifier.reference.tiles[0]
    latency = latency_on_cpu(made.graph, last(graph), "fp32", tile, log=log, engines=timed_on())
    require_fast(latency, budget, force=config.budget.force)
    forced = config.budget.force and latency.faster_by < config.budget.faster_by
    return replace(made, certificate=replace(made.certificate, latency=latency, forced=forced)), None


def target_of(config: ExportConfig) -> str:
    """Return the engines that a graph is made for: FP32 any; FP16 TensorRT; INT8 those of this machine."""
    if config.target is not None:
        return config.target
    if config.precision == "fp32":
        return "any"
    if config.precision == "fp16" or best_engine() == "tensorrt":
        return "tensorrt"
    return "cpu"


def sampling_of(config: ExportConfig, target: str) -> str:
    """Return how a graph samples, `gridsample` or `gather`; gathers for TensorRT, which no device has cleared yet.

    TensorRT has computed GridSample wrongly, in silence (NVIDIA/TensorRT 4646, pytorch/TensorRT 4074). The programs
    that take the portable flavour run it in ONNX Runtime.
    """
    if config.gridsample is not None:
        return "gridsample" if config.gridsample else "gather"
    return "gather" if target == "tensorrt" and not config.portable else "gridsample"


@contextmanager
def _staged(path: Path, made: Lowered, manifest: Manifest, verifier: Verifier) -> Iterator[bytes]:
    """Write an artifact, and open it as users will before it takes its name: manifest and worst tile must come back."""
    content = bytes_from_graph(made.graph, manifest)
    with staged_file(path, content) as hidden:
        engine = open_engine(hidden, engine="cpu")
        if engine.manifest != manifest:
            raise ExportError("the manifest does not come back from the file as it was written; nothing was written")
        worst = worst_tile(made.certificate.tiles)
        tile = next(tile for tile in verifier.reference.tiles if tile.name == worst.tile)
        (again,) = measured_parity(engine, verifier.reference.on([tile]), threshold=manifest.threshold)
        if again.max_abs > max(2 * worst.max_abs, MAX_ABS_AGAIN):
            raise ExportError(
                f"the written file answers otherwise than its graph ({again.max_abs:g} on the tile {tile.name!r}); "
                "nothing was written: try again"
            )
        yield content


def _contract(config: ExportConfig, checkpoint: Checkpoint) -> tuple[InputContract, tuple[str, ...]]:
    """Return the pixels that the graph is for, and what to tell the user about them."""
    name = config.checkpoint.name
    if checkpoint.declared:
        if config.input.said_anything:
            raise ExportError(
                f"{name} says itself what pixels it was trained on; "
                "leave out --pixel-type, --value-range, --mean and --std"
            )
        return checkpoint.input, ()
    if config.input.said_anything:
        return config.input.contract(), ()
    return checkpoint.input, (
        f"{name} does not say what pixels it was trained on: taken to be 8-bit RGB with ImageNet mean and std; "
        "say otherwise with --pixel-type, --value-range, --mean and --std",
    )


def _verification_tiles(config: ExportConfig, contract: InputContract, tile_px: int) -> list[Tile]:
    given = [] if config.tiles is None else imagery_tiles(config.tiles, contract, tile_px)
    return [*given, *example_tiles(contract, tile_px), *generated_tiles(contract, tile_px)]
