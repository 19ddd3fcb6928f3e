"""The evidence that an artifact answers as its checkpoint does, as values that the runtime checks again.

Whether a certificate holds is never stored: it follows from the figures. Needs nothing but the standard library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from kda_edge.errors import ManifestError

POINT: Final = 0.01  # one point of IoU
FASTER_BY: Final = 0.15  # share of the best other precision's median latency that INT8 must save, unless told otherwise
STRATA: Final = ("landslide", "background", "dark", "bright")


def require(condition: bool, message: str) -> None:
    """Raise `ManifestError` with the message unless the condition holds."""
    if not condition:
        raise ManifestError(message)


def require_sha256(name: str, text: str) -> None:
    """Raise `ManifestError` unless the text is a SHA-256 in hexadecimal."""
    require(len(text) == 64 and set(text) <= set("0123456789abcdef"), f"{name} must be 64 hexadecimal digits")


@dataclass(frozen=True)
class TileParity:
    """How far an engine's probabilities lie from a reference's on one tile; in certificates, from PyTorch's.

    Attributes:
        tile: what the tile shows, as a name.
        sha256: digest of the tile's raw pixels.
        max_abs: largest difference of the probability, 0..1.
        mean_abs: mean difference of the probability, 0..1.
        agreement: share of pixels with the same class, 0..1.
    """

    tile: str
    sha256: str
    max_abs: float
    mean_abs: float
    agreement: float

    def __post_init__(self) -> None:
        for name in ("max_abs", "mean_abs", "agreement"):
            require(0 <= getattr(self, name) <= 1, f"certificate.tiles.{name} must lie in 0..1")


@dataclass(frozen=True)
class Budget:
    """What an artifact may lose, each limit None where nothing is demanded; at least one limit of the answers is set.

    Attributes:
        max_abs: largest difference of the probability on any tile, 0..1.
        iou_points: points of landslide IoU (0..100) that may be lost on labelled images; without labels, the percentage
            of pixels that may change class instead, since no figure about landslides can be had.
        faster_by: share by which the median latency must lie below that of the best other precision, 0..1.
    """

    max_abs: float | None = None
    iou_points: float | None = None
    faster_by: float | None = None

    def __post_init__(self) -> None:
        require(self.max_abs is not None or self.iou_points is not None, "certificate.budget must limit something")
        for name, most in (("max_abs", 1.0), ("iou_points", 100.0), ("faster_by", 1.0)):
            value = getattr(self, name)
            require(value is None or 0 <= value <= most, f"certificate.budget.{name} must lie in 0..{most:g}")


@dataclass(frozen=True)
class Labelled:
    """Landslide IoU before and after, on images with masks.

    Attributes:
        images: names of the images.
        sha256: of the pixels and the mask of each image, in the same order.
        iou: of the graph, 0..1, all pixels that may be judged in one pool.
        reference_iou: of PyTorch's float32 student on the same, 0..1.
    """

    images: tuple[str, ...]
    sha256: tuple[str, ...]
    iou: float
    reference_iou: float

    def __post_init__(self) -> None:
        require(0 < len(self.images) == len(self.sha256), "certificate.labelled must have a digest for each image")
        for name in ("iou", "reference_iou"):
            require(0 <= getattr(self, name) <= 1, f"certificate.labelled.{name} must lie in 0..1")

    @property
    def lost_points(self) -> float:
        """Points of IoU lost against PyTorch; below 0 where the graph happens to do better."""
        return (self.reference_iou - self.iou) / POINT


@dataclass(frozen=True)
class Latency:
    """The median time of a tile, measured side by side with the best other precision.

    Attributes:
        engine: what ran both, with its version.
        processor: what it ran on.
        rounds: runs of each, in alternation.
        p50_ms: median of this artifact's graph, milliseconds a tile.
        other_precision: of the graph that it was compared with.
        other_p50_ms: median of that graph.
    """

    engine: str
    processor: str
    rounds: int
    p50_ms: float
    other_precision: str
    other_p50_ms: float

    def __post_init__(self) -> None:
        require(min(self.p50_ms, self.other_p50_ms) > 0, "certificate.latency must be above 0 ms")
        require(self.rounds > 0, "certificate.latency.rounds must be above 0")

    @property
    def faster_by(self) -> float:
        """Share of the other's median that is saved; below 0 where this one is slower."""
        return 1.0 - self.p50_ms / self.other_p50_ms


@dataclass(frozen=True)
class Calibration:
    """On what an INT8 graph's ranges were measured.

    Attributes:
        method: `minmax`, `entropy` or `percentile`.
        seed: that the tiles were drawn with.
        drawn: tiles of each stratum, `{stratum: count}`.
        sha256: of each tile's raw pixels.
    """

    method: str
    seed: int
    drawn: dict[str, int]
    sha256: tuple[str, ...]

    def __post_init__(self) -> None:
        require(self.method in ("minmax", "entropy", "percentile"), f"calibration.method is unknown: {self.method!r}")
        require(set(self.drawn) <= set(STRATA), f"calibration.drawn must name strata of {STRATA}")
        require(0 < len(self.sha256) == sum(self.drawn.values()), "calibration must have a digest for each tile drawn")


@dataclass(frozen=True)
class Certificate:
    """What was compared, against what, how far apart the answers lay, and what was allowed.

    Attributes:
        graph_sha256: of the file without its metadata (`kda_edge.artifact_bytes.graph_digest`).
        budget: what was allowed.
        tiles: the graph in ONNX Runtime against PyTorch in float32.
        versions: the packages that compared, `{name: version}`.
        half_rounded: each half tensor was rounded for the comparison, which ONNX Runtime's own CPU kernels leave out.
        labelled: accuracy before and after; None: no labelled images were given.
        latency: None: not measured, nothing of the target's kind was at hand.
        forced: a latency short of the budget was accepted by hand.
    """

    graph_sha256: str
    budget: Budget
    tiles: tuple[TileParity, ...]
    versions: dict[str, str] = field(default_factory=dict)
    half_rounded: bool = False
    labelled: Labelled | None = None
    latency: Latency | None = None
    forced: bool = False

    def __post_init__(self) -> None:
        require_sha256("certificate.graph_sha256", self.graph_sha256)

    @property
    def max_abs(self) -> float:
        """Largest difference of the probability over all tiles; not a number where nothing was compared."""
        return max((tile.max_abs for tile in self.tiles), default=math.nan)

    @property
    def mean_abs(self) -> float:
        """Mean difference of the probability over all tiles; not a number where nothing was compared."""
        return math.fsum(tile.mean_abs for tile in self.tiles) / len(self.tiles) if self.tiles else math.nan

    @property
    def class_changes(self) -> float:
        """Share of pixels that change class, 0..1, over all tiles; not a number where nothing was compared."""
        return 1.0 - math.fsum(t.agreement for t in self.tiles) / len(self.tiles) if self.tiles else math.nan

    @property
    def used(self) -> float:
        """Largest share of a limit on the answers that is used, 0..inf; above 1 the answers are out of budget."""
        budget, shares = self.budget, [0.0 if self.tiles else math.inf]
        if budget.max_abs is not None:
            shares.append(share(self.max_abs, budget.max_abs))
        if budget.iou_points is not None:
            lost = self.class_changes / POINT if self.labelled is None else self.labelled.lost_points
            shares.append(share(lost, budget.iou_points))
        return max(shares)

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, a clause each; empty: all of it holds."""
        budget, found = self.budget, []
        if not self.tiles:
            found.append("nothing was compared")
        if budget.max_abs is not None and self.max_abs > budget.max_abs:
            found.append(f"the probability differs by {self.max_abs:g}, {budget.max_abs:g} are allowed")
        if budget.iou_points is not None:
            if self.labelled is not None and self.labelled.lost_points > budget.iou_points:
                lost = self.labelled.lost_points
                found.append(f"{lost:.3g} points of landslide IoU are lost, {budget.iou_points:g} are allowed")
            elif self.labelled is None and self.class_changes / POINT > budget.iou_points:
                found.append(f"{self.class_changes:.3%} of pixels change class, {budget.iou_points:g}% are allowed")
        latency, asked = self.latency, budget.faster_by
        if latency is not None and asked is not None and latency.faster_by < asked and not self.forced:
            found.append(f"it is {latency.faster_by:.0%} faster than {latency.other_precision}, {asked:.0%} are asked")
        return tuple(found)

    @property
    def holds(self) -> bool:
        """Whether something was compared and every figure is within the budget."""
        return not self.failures


def share(value: float, limit: float) -> float:
    """Return what share of a limit a value uses, 0..inf; where nothing is allowed, any value above 0 is too much."""
    if value <= 0:
        return 0.0
    return value / limit if limit > 0 else math.inf
