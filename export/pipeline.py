"""From a checkpoint to a verified artifact: the one function behind `kda-export`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

import kda_edge
from kda_edge.checkpoint import Checkpoint, read_checkpoint, weights_digest
from kda_edge.errors import ExportError, UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.network import Network
from kda_edge.predict import Engine
from kda_edge.runtime.engines import open_engine

from .artifact import bytes_from_graph, require_writable, staged_file
from .config import ExportConfig
from .imagery import example_tiles, imagery_tiles
from .lint import INPUT_NAME, OPSET, OUTPUT_NAME, require_clean
from .parity import measured_parity, require_parity, worst_tile
from .tiles import Tile, generated_tiles
from .to_onnx import ExportedGraph, onnx_from_student, raw_pixel_student

COMPARED_PACKAGES: Final = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy")


@dataclass(frozen=True)
class ExportReport:
    """What an export has written.

    Attributes:
        artifact: the file.
        size_bytes: of the file.
        sha256: digest of the file.
        manifest: what it says of itself, the parity figures included.
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


def engine_from_graph(graph: onnx.ModelProto) -> Engine:
    """Return an engine for a graph without a manifest, set up as the runtime sets up ONNX Runtime.

    The runtime itself refuses a file that was never verified, so it can't be asked before; it is asked afterwards.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its errors reach us as exceptions
    options.use_deterministic_compute = True
    try:
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {str(error).splitlines()[0]}") from error

    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        (answer,) = session.run([OUTPUT_NAME], {INPUT_NAME: tiles})
        return np.asarray(answer, np.float32)

    return probability


def engine_from_student(student: Network, contract: InputContract) -> Engine:
    """Return PyTorch's answer in float32 on the CPU as an engine; `student` stays as it is."""
    module = raw_pixel_student(student, contract)

    @torch.inference_mode()
    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = module(torch.from_numpy(tiles)).numpy()
        return answer

    return probability


def export_checkpoint(
    config: ExportConfig,
    *,
    to_graph: Callable[[Network, InputContract, int], ExportedGraph] = onnx_from_student,
    to_engine: Callable[[onnx.ModelProto], Engine] = engine_from_graph,
) -> ExportReport:
    """Export a checkpoint, verify the graph, and only then write the artifact.

    Args:
        config: what is asked for.
        to_graph: makes the graph of a student for a tile side in pixels.
        to_engine: opens the graph for verification.

    Raises:
        CheckpointError: the checkpoint can't be read.
        UsageError: the output would replace the checkpoint.
        SceneError: the imagery to verify on can't be used.
        ExportError: PyTorch, onnxsim, the checker or ONNX Runtime refuses, or the lint finds something.
        ParityError: the graph does not answer as PyTorch does.
        OutputError: the artifact can't be written.
    """
    artifact = config.artifact_path
    checkpoint = read_checkpoint(config.checkpoint)
    if artifact.exists() and artifact.samefile(config.checkpoint):
        raise UsageError(f"the artifact would replace the checkpoint {artifact}; give another name with -o")
    require_writable(artifact)
    contract, notes = _contract(config, checkpoint)
    tile_px = config.tile_px if config.tile_px is not None else checkpoint.tile_px
    threshold = config.threshold if config.threshold is not None else checkpoint.threshold
    tiles = _verification_tiles(config, contract, tile_px)

    graph = to_graph(checkpoint.student, contract, tile_px)
    require_clean(graph.model)
    reference = engine_from_student(checkpoint.student, contract)
    parity = measured_parity(
        to_engine(graph.model),
        reference,
        tiles,
        threshold=threshold,
        versions={package: version(package) for package in COMPARED_PACKAGES},
    )
    require_parity(parity)
    manifest = Manifest(
        variant=checkpoint.student.variant,
        parameters=sum(weight.numel() for weight in checkpoint.student.parameters()),
        checkpoint_sha256=weights_digest(checkpoint.student),
        tile_px=tile_px,
        parity=parity,
        package_version=kda_edge.__version__,
        input=contract,
        threshold=threshold,
        opset=OPSET,
        training=checkpoint.training,
    )
    content = bytes_from_graph(graph.model, manifest)
    with staged_file(artifact, content) as hidden:
        _require_readable(hidden, manifest, reference, tiles)
    return ExportReport(
        artifact=artifact,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        manifest=manifest,
        nodes_traced=graph.nodes_traced,
        nodes=len(graph.model.graph.node),
        notes=notes,
    )


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


def _require_readable(path: Path, manifest: Manifest, reference: Engine, tiles: list[Tile]) -> None:
    """Open the written file as users will, and hold it to its manifest and to the tile on which it was worst."""
    engine = open_engine(path)
    if engine.manifest != manifest:
        raise ExportError("the manifest does not come back from the file as it was written; nothing was written")
    worst = worst_tile(manifest.parity)
    tile = next(tile for tile in tiles if tile.name == worst.tile)
    again = measured_parity(engine, reference, [tile], threshold=manifest.threshold, versions={})
    require_parity(again)
