"""Evaluation of a student: metrics by source and by group, over whole images, tiled as the runtime tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.manifest import InputContract
from kda_edge.metrics import ConfusionCounts, ProbabilityHistogram, best_threshold
from kda_edge.networks.network import Network
from kda_edge.tiling.pixels import Pixels
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_answers import Engine
from kda_edge.tiling.tile_grid import TileGrid

from ..data.crops import read_labelled
from ..data.image_files import read_image
from ..data.labels import IGNORED, LANDSLIDE
from ..data.sources import Sample

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Evaluation:
    """What was counted, by group.

    Attributes:
        histograms: of probability, by `source/group`.
    """

    histograms: dict[str, ProbabilityHistogram]

    def gathered(self, fabric: Fabric) -> Evaluation:
        """Return the counts of all processes together."""
        if fabric.world_size == 1:
            return self
        parts: list[Any] = [None] * fabric.world_size
        torch.distributed.all_gather_object(parts, self.histograms)
        everywhere: dict[str, ProbabilityHistogram] = {}
        for part in parts:
            for name, histogram in part.items():
                everywhere.setdefault(name, ProbabilityHistogram()).merge(histogram)
        return Evaluation(everywhere)

    def by_source(self) -> list[ProbabilityHistogram]:
        """Return the counts of each source, its groups together."""
        sources: dict[str, ProbabilityHistogram] = {}
        for name, histogram in self.histograms.items():
            sources.setdefault(name.split("/")[0], ProbabilityHistogram()).merge(histogram)
        return list(sources.values())

    def at_best_threshold(self) -> dict[str, dict[str, float]]:
        """Return for each group with landslide the threshold with the best IoU there, and that IoU: an upper bound."""
        result = {}
        for name, histogram in sorted(self.histograms.items()):
            if not histogram.landslide.any():
                continue
            threshold = best_threshold([histogram])
            result[name] = {"threshold": threshold, "iou": histogram.counts_at(threshold).iou}
        return result

    def counts(self, threshold: float) -> dict[str, ConfusionCounts]:
        """Return the confusion of each group, of each source with several groups, and of everything (`all`)."""
        by_name = {name: histogram.counts_at(threshold) for name, histogram in self.histograms.items()}
        sources = {name.split("/")[0] for name in by_name}
        result: dict[str, ConfusionCounts] = {}
        for source in sorted(sources):
            members = {name: counts for name, counts in sorted(by_name.items()) if name.split("/")[0] == source}
            result.update(members)
            if len(members) > 1:
                result[source] = sum(members.values(), ConfusionCounts())
        if len(sources) > 1:
            result["all"] = sum(by_name.values(), ConfusionCounts())
        return result


@dataclass(frozen=True)
class SampleSource:
    """A sample as something that tiles are read from.

    Attributes:
        sample: read by windows, so that a large scene is never in memory.
        contract: the declared pixels.
    """

    sample: Sample
    contract: InputContract

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels of a window of the sample."""
        left, top, _, _ = self.sample.window_ltrb
        window = Window(left + col0, top + row0, col1 - col0, row1 - row0)
        return Pixels(*read_image(self.sample.image, self.contract, self.sample.source.bands, window))


def engine_from_student(student: Network, contract: InputContract, device: torch.device) -> Engine:
    """Return the student as an engine: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T)."""
    mean = torch.tensor(contract.mean, device=device).reshape(1, 3, 1, 1)
    std = torch.tensor(contract.std, device=device).reshape(1, 3, 1, 1)

    def engine(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            image = torch.from_numpy(tiles).to(device)
            probability = torch.sigmoid(student((image - mean) / std))
        result: NDArray[np.float32] = probability.float().cpu().numpy()
        return result

    return engine


def evaluate(
    student: Network,
    samples: Sequence[Sample],
    contract: InputContract,
    *,
    tile_px: int,
    overlap_px: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    each: Callable[[Sample, ProbabilityHistogram], None] | None = None,
) -> Evaluation:
    """Predict every sample whole and count its pixels where it is judged.

    Args:
        student: moved nowhere; left in the mode it came in.
        samples: with masks.
        contract: the declared pixels.
        tile_px: side of the tiles.
        overlap_px: least overlap of neighbouring tiles.
        device: where the student is.
        progress: called with samples done and in all.
        each: called with every sample and the histogram of it alone.
    """
    was_training = student.training
    student.eval()
    engine = engine_from_student(student, contract, device)
    histograms: dict[str, ProbabilityHistogram] = {}
    for done, sample in enumerate(samples, start=1):
        name = f"{sample.source.name}/{sample.group}"
        histogram = ProbabilityHistogram()
        grid = TileGrid(sample.height_px, sample.width_px, tile_px, overlap_px)
        left, top, right, _ = sample.window_ltrb
        for band in predict(SampleSource(sample, contract), grid, engine):
            first = top + band.row_px
            labels = read_labelled(sample, contract, (left, first, right, first + len(band.probability)))[2]
            judged = (labels != IGNORED) & np.isfinite(band.probability) & ~band.failed
            histogram.add(band.probability, labels == LANDSLIDE, judged)
        histograms.setdefault(name, ProbabilityHistogram()).merge(histogram)
        if each is not None:
            each(sample, histogram)
        if progress is not None:
            progress(done, len(samples))
    student.train(was_training)
    return Evaluation(histograms)
