"""A judged split of a report: what was counted, and which images are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch

from kda_edge.metrics import ConfusionCounts, best_threshold
from kda_edge.networks.checkpoint import Checkpoint
from kda_edge.tiling.tile_grid import default_overlap_px

from ..data.data_file import DataSet
from ..segmentation.evaluate import Evaluation, evaluate
from .examples import Example, examples_of
from .image_scores import ImageScores, groups_worth_a_row

SHOWN: Final = 4  # images of each kind
HANDFUL: Final = 20  # images with landslide below which a threshold chosen on them is said to be uncertain; a choice


@dataclass(frozen=True)
class JudgedSplit:
    """A split as a student maps it.

    Attributes:
        split: train, val or test.
        threshold: from which on a pixel counted as landslide.
        tuned: whether the threshold was chosen on this very split, now.
        evaluation: what was counted.
        scores: of its images.
        rows: confusion of groups and sources at the threshold; of images that are groups of their own only the source.
        worst: the images with the lowest IoU.
        best: those with the highest.
        alarms: those without landslide and with the largest share of false alarms.
    """

    split: str
    threshold: float
    tuned: bool
    evaluation: Evaluation
    scores: ImageScores
    rows: dict[str, ConfusionCounts]
    worst: tuple[Example, ...] = ()
    best: tuple[Example, ...] = ()
    alarms: tuple[Example, ...] = ()

    @property
    def counts(self) -> ConfusionCounts:
        """Of all pixels."""
        return sum((one for _, one in self.scores.at(self.threshold)), ConfusionCounts())


def judge_split(
    checkpoint: Checkpoint,
    data: DataSet,
    split: str,
    *,
    device: torch.device,
    tune: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> JudgedSplit:
    """Evaluate a student on a split.

    Args:
        checkpoint: its student on the device; what it declares of its pixels is taken, the data's where it is silent.
        data: holds the split; its pixels are of the same kind.
        split: train, val or test.
        device: where the student is.
        tune: choose the threshold with the best landslide IoU here, mean over sources, instead of the checkpoint's.
        progress: called with a label, images done and in all.
    """
    samples = data.samples[split]
    chosen = checkpoint.threshold
    scores = ImageScores(chosen)
    evaluation = evaluate(
        checkpoint.student,
        samples,
        checkpoint.input if checkpoint.declared else data.input,
        tile_px=checkpoint.tile_px,
        overlap_px=default_overlap_px(checkpoint.tile_px),
        device=device,
        progress=progress and (lambda done, total: progress(f"images of {split}", done, total)),
        each=scores.add,
    )
    if tune:
        chosen = best_threshold(evaluation.by_source())
    counts = evaluation.counts(chosen)
    rows = {name: counts[name] for name in groups_worth_a_row(list(counts), samples)}
    return JudgedSplit(split, chosen, tune, evaluation, scores, rows)


def with_examples(judged: JudgedSplit, checkpoint: Checkpoint, data: DataSet, device: torch.device) -> JudgedSplit:
    """Return a judged split with pictures of its best and worst images."""
    ranked = judged.scores.ranked(judged.threshold, SHOWN)
    worst, best, alarms = (
        tuple(examples_of(some, replace(checkpoint, threshold=judged.threshold), data, device))
        for some in (ranked.worst, ranked.best, ranked.alarms)
    )
    return replace(judged, worst=worst, best=best, alarms=alarms)


def cautions(judged: JudgedSplit, *, chose_the_epoch: bool) -> list[str]:
    """Return why the figures of a split are better than those to be expected in the field, or say little; a line each.

    Args:
        judged: it.
        chose_the_epoch: whether epoch and threshold of the student were chosen on it.
    """
    slides, what = judged.scores.with_landslide(), f"the {judged.split} split"
    said = []
    if judged.tuned:
        said.append(f"the threshold was chosen on {what} itself, so these figures flatter; judge it on another split")
    elif chose_the_epoch:
        said.append(f"epoch and threshold were chosen on {what}, so its figures flatter; those of a test split do not")
    if (judged.tuned or chose_the_epoch) and slides < HANDFUL:
        said.append(
            f"the threshold rests on {slides} images with landslide: others could have given another; label more, or "
            "look at the curve"
        )
    elif slides < HANDFUL:
        said.append(f"{what} holds {slides} images with landslide: its figures may change much with other images")
    return said
