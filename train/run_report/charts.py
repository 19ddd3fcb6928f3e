"""Charts of a report as PNG, in colours that colour-blind people tell apart."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kda_edge.errors import MissingDependency

from .curves import Calibration, Floats, ThresholdCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, "Color Universal Design".
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
COLORS: Final = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
PANEL_INCHES: Final = (4.6, 3.4)
DPI: Final = 130
MOST_LINES: Final = 7  # of a chart


def require_matplotlib() -> None:
    """Raise `MissingDependency` where there is no matplotlib: before hours of training, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependency("matplotlib", extra="train")


def training_chart(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return loss, val IoU of each source, and learning rate by epoch, side by side.

    Args:
        rows: of `metrics.csv`, by name of the column; an empty cell is left out.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    judged = [name for name in names if name.startswith("val ") and name.endswith("/iou")]
    sources = [name for name in judged if name.count("/") == 1] or judged

    def draw(axes: Sequence[Axes]) -> None:
        from matplotlib.ticker import MaxNLocator

        _lines(axes[0], rows, {"train/loss": "training loss"})
        _lines(axes[1], rows, {name: name[4:-4] for name in sources[:MOST_LINES]})
        _lines(axes[2], rows, {"train/backbone_rate": "learning rate of the backbone"})
        axes[0].set_ylabel("loss")
        axes[1].set_ylabel("landslide IoU on val")
        axes[1].set_ylim(0, 1)
        axes[2].set_ylabel("learning rate")
        axes[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        for one in axes:
            one.set_xlabel("epoch")
            one.xaxis.set_major_locator(MaxNLocator(integer=True))
        if sources:
            axes[1].legend(fontsize=8)

    return _png(draw, panels=3)


def threshold_chart(curve: ThresholdCurve, chosen: float) -> bytes:
    """Return IoU, precision and recall by threshold, with the chosen one marked."""

    def draw(axes: Sequence[Axes]) -> None:
        (one,) = axes
        for values, label, color in (
            (curve.mean_iou, "IoU, mean over sources", BLUE),
            (curve.precision, "precision", ORANGE),
            (curve.recall, "recall", GREEN),
        ):
            one.plot(curve.thresholds, values, label=label, color=color)
        one.axvline(chosen, color=GREY, linestyle="--", linewidth=1, label=f"threshold {chosen:g}")
        _unit_square(one, "threshold", "of landslide")
        one.legend(fontsize=8)

    return _png(draw)


def precision_recall_chart(precision: Floats, recall: Floats, chosen: tuple[float, float], area: float) -> bytes:
    """Return precision by recall.

    Args:
        precision: 0..1.
        recall: at the same thresholds, 0..1.
        chosen: recall and precision at the chosen threshold; not finite: not marked.
        area: below the curve.
    """

    def draw(axes: Sequence[Axes]) -> None:
        (one,) = axes
        one.plot(recall, precision, color=BLUE, label=f"average precision {area:.3f}")
        if all(map(math.isfinite, chosen)):
            one.plot(*([value] for value in chosen), "o", color=ORANGE, label="chosen threshold")
        _unit_square(one, "recall", "precision")
        one.legend(fontsize=8)

    return _png(draw)


def calibration_chart(calibration: Calibration) -> bytes:
    """Return the observed share of landslide by predicted probability; dots are larger where more pixels are."""

    def draw(axes: Sequence[Axes]) -> None:
        (one,) = axes
        one.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="perfect")
        some = calibration.pixels > 0
        shares = calibration.pixels[some] / max(int(calibration.pixels.sum()), 1)
        one.plot(calibration.predicted[some], calibration.observed[some], color=BLUE, linewidth=1)
        one.scatter(calibration.predicted[some], calibration.observed[some], s=12 + 200 * np.sqrt(shares), color=BLUE)
        one.set_title(f"expected calibration error {calibration.expected_error:.3f}", fontsize=9)
        _unit_square(one, "predicted probability", "share that is landslide")

    return _png(draw)


def _lines(axes: Axes, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> None:
    for color, (column, label) in zip(COLORS, columns.items(), strict=False):
        cells = [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
        if cells:
            axes.plot(*zip(*cells, strict=True), color=color, label=label, marker="." if len(cells) < 30 else "")


def _unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _png(draw: Callable[[Sequence[Axes]], None], *, panels: int = 1) -> bytes:
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(PANEL_INCHES[0] * panels, PANEL_INCHES[1]), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # no window, no display
    axes = [figure.add_subplot(1, panels, number) for number in range(1, panels + 1)]
    for one in axes:
        one.grid(color="#DDDDDD", linewidth=0.5)
        one.set_axisbelow(True)
    draw(axes)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
