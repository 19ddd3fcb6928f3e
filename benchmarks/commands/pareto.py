"""Pareto-optimal settings: those that nobody beats, and the one to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_IOU_LOSS_POINTS: Final = 0.5  # the budget of kda-export for INT8
NOISE_SHARE: Final = 0.03  # settings that differ by less than steady windows of one run may differ are equally fast


@dataclass(frozen=True)
class Setting:
    """One way to run one model, measured.

    Attributes:
        artifact: name of the file.
        precision: of the graph.
        engine: that ran it.
        tile_px: side of its tile.
        batch: tiles a call.
        ms_per_mpx: milliseconds a megapixel of map, overlaps counted once.
        p50_ms: median time of a call.
        p99_ms: of a hundred calls one takes longer.
        memory_mb: most resident memory of the process; None where nothing tells it.
        iou: landslide IoU on labelled images, 0..1; None where the file's certificate has none.
        steady: whether the machine came to rest.
    """

    artifact: str
    precision: str
    engine: str
    tile_px: int
    batch: int
    ms_per_mpx: float
    p50_ms: float
    p99_ms: float
    memory_mb: float | None
    iou: float | None
    steady: bool

    def sentence(self) -> str:
        """Return the setting as a person reads it."""
        how = f"with {self.engine}, {self.batch} tile(s) a call"
        return f"{self.artifact} ({self.precision}, tile {self.tile_px} px) {how}"


def unbeaten(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings that no other beats: none is as good in time, memory and IoU, and better in one of them.

    An IoU or a memory that is not known in each of the settings does not count.
    """
    return [one for one in settings if not any(_beats(other, one, settings) for other in settings)]


def recommended(settings: Sequence[Setting], *, most_iou_loss_points: float = MOST_IOU_LOSS_POINTS) -> Setting:
    """Return the fastest setting that keeps the IoU; of equally fast ones that with the least memory, then batch.

    Args:
        settings: one or more.
        most_iou_loss_points: below the best IoU, points of 0..100; does not count where an IoU is not known.
    """
    kept = list(settings)
    known = [one.iou for one in settings if one.iou is not None]
    if len(known) == len(settings):
        kept = [one for one, iou in zip(settings, known, strict=True) if iou >= max(known) - most_iou_loss_points / 100]
    least_ms = min(one.ms_per_mpx for one in kept)
    fast = [one for one in kept if one.ms_per_mpx <= least_ms * (1 + NOISE_SHARE)]
    return min(fast, key=lambda one: (one.memory_mb or 0.0, one.batch, one.ms_per_mpx))


def _beats(one: Setting, other: Setting, settings: Sequence[Setting]) -> bool:
    pairs = [(one.ms_per_mpx, other.ms_per_mpx)]
    if all(setting.memory_mb is not None for setting in settings):
        pairs.append((one.memory_mb or 0.0, other.memory_mb or 0.0))
    if all(setting.iou is not None for setting in settings):
        pairs.append((-(one.iou or 0.0), -(other.iou or 0.0)))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
