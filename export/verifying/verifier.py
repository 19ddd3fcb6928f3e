"""The verifier, from a graph to its certificate: compared with PyTorch on tiles and, with labels, on IoU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Final

import onnx
import onnxruntime

from kda_edge.artifact_bytes import graph_digest
from kda_edge.certificate import Budget, Certificate, Labelled, Latency
from kda_edge.errors import ExportError, NotFaster, ParityError
from kda_edge.manifest import InputContract
from kda_edge.progress.callbacks import Progress, silent
from kda_edge.tiling.tile_answers import Engine

from ..tiles.labelled_images import LabelledImage, counts_on, digests_of, labelled_images
from .compared_engines import engine_from_graph
from .half_rounding import rounded_graph
from .parity import Reference, measured_parity, worst_tile

COMPARED_PACKAGES: Final = ("torch", "onnx", "onnxscript", "onnxsim", "numpy")
LAYERS_NAMED: Final = 3


def compared_versions() -> dict[str, str]:
    """Return the versions of the packages that answers depend on; of several ONNX Runtimes, of the one that imports."""
    return {package: version(package) for package in COMPARED_PACKAGES} | {"onnxruntime": onnxruntime.__version__}


class Verifier:
    """One student's answers, and how any graph of it is held to them.

    Attributes:
        reference: PyTorch's engine, and the tiles.
        contract: the pixels that both take.
        tile_px: side of the tile.
        threshold: probability from which a pixel counts as landslide.
        images: with masks; may be empty.
        to_engine: opens a graph.
    """

    def __init__(
        self,
        reference: Reference,
        contract: InputContract,
        *,
        tile_px: int,
        threshold: float,
        labelled: Path | None = None,
        to_engine: Callable[[onnx.ModelProto], Engine] = engine_from_graph,
    ) -> None:
        self.reference, self.contract, self.tile_px, self.threshold = reference, contract, tile_px, threshold
        self.images: list[LabelledImage] = [] if labelled is None else labelled_images(labelled)
        self.to_engine = to_engine

    def certificate(self, graph: onnx.ModelProto, budget: Budget, *, progress: Progress = silent) -> Certificate:
        """Compare a graph with the reference; whether it holds is the certificate's to say.

        Args:
            graph: of the student.
            budget: that it is held to.
            progress: told of what is done.

        Raises:
            ParityError: an answer that is no probability.
            ExportError: ONNX Runtime refuses the graph.
            SceneError: a labelled image can't be read.
        """
        rounded = _has_half(graph)
        # What ONNX Runtime makes of half tensors is not what half hardware makes of them (`half_rounding.py`).
        engine = self.to_engine(rounded_graph(graph) if rounded else graph)
        return Certificate(
            graph_sha256=graph_digest(graph.SerializeToString(deterministic=True)),
            half_rounded=rounded,
            budget=budget,
            tiles=measured_parity(engine, self.reference, threshold=self.threshold, progress=progress),
            versions=compared_versions(),
            labelled=self._labelled(engine, progress) if self.images else None,
        )

    @cached_property
    def reference_iou(self) -> float:
        """Landslide IoU of PyTorch on the labelled images.

        Raises:
            ExportError: there is no landslide in any mask and none was found, so that IoU is not defined.
        """
        return self._iou(self.reference.engine, silent)

    def _labelled(self, engine: Engine, progress: Progress) -> Labelled:
        return Labelled(
            images=tuple(item.image.name for item in self.images),
            sha256=self._digests,
            iou=self._iou(engine, progress),
            reference_iou=self.reference_iou,
        )

    def _iou(self, engine: Engine, progress: Progress) -> float:
        counts = counts_on(self.images, engine, self.contract, self.tile_px, self.threshold, progress=progress)
        if counts.tp + counts.fn == 0:
            raise ExportError("the masks of --eval hold no landslide, so there is no IoU to hold; give some that do")
        return counts.iou

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        return tuple(digests_of(self.images, self.contract))


def require_answers(certificate: Certificate, worst_layers: Sequence[str] = ()) -> None:
    """Raise `ParityError`, naming what is lost, where it is worst and which layers lose it, unless the answers hold."""
    if certificate.used <= 1:
        return
    layers = f"; the worst layers are {', '.join(worst_layers[:LAYERS_NAMED])}" if worst_layers else ""
    worst = worst_tile(certificate.tiles)
    raise ParityError(
        f"the graph is not PyTorch's: {certificate.failures[0]} (worst tile {worst.tile!r}){layers}; "
        "nothing was written: give a larger budget, another precision, or other versions of torch and onnxruntime"
    )


def require_fast(latency: Latency | None, budget: Budget, *, force: bool) -> None:
    """Raise `NotFaster` where a measured latency is short of the budget and nobody forces it."""
    if latency is None or budget.faster_by is None or latency.faster_by >= budget.faster_by or force:
        return
    other = latency.other_precision
    option = "" if other == "fp32" else f" --{other}"
    raise NotFaster(
        f"int8 takes {latency.p50_ms:.1f} ms a tile and {other} {latency.other_p50_ms:.1f} ms on {latency.engine}, not "
        f"{budget.faster_by:.0%} less, so {other} is the better one: export with{option or 'out --int8'}, or --force"
    )


def _has_half(graph: onnx.ModelProto) -> bool:
    half = onnx.TensorProto.FLOAT16
    casts = any(
        node.op_type == "Cast" and any(entry.name == "to" and entry.i == half for entry in node.attribute)
        for node in graph.graph.node
    )
    return casts or any(tensor.data_type == half for tensor in graph.graph.initializer)
