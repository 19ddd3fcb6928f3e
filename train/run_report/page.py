"""The HTML of a report: one file that needs no network, with every picture inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from kda_edge.metrics import ConfusionCounts

from ..loops.metric_reports import COLUMNS, HEADINGS
from .examples import CLAIM_COLOR, TRUTH_COLOR, Example
from .judged_split import JudgedSplit

MOST_ROWS: Final = 60  # of groups
STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em; margin-bottom: .2em } h2 { margin-top: 2em; border-bottom: 1px solid #ccc }
h3 { margin: 1.4em 0 .4em } .sub { color: #555 }
.figures { display: flex; flex-wrap: wrap; gap: 1em; margin: 1em 0 }
.figure { border: 1px solid #ccc; border-radius: 6px; padding: .5em 1em; min-width: 6.5em }
.figure b { display: block; font-size: 1.6em }
.caution { background: #fff4e0; border-left: 4px solid #e69f00; padding: .4em .8em; margin: .4em 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } th, td { padding: .2em .7em }
th { text-align: left; border-bottom: 2px solid #999 } td { border-bottom: 1px solid #e4e4e4 }
td.number, th.number { text-align: right } .charts img { width: 32.5%; min-width: 320px } img.wide { width: 100% }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(255px, 1fr)); gap: 1em }
.examples figure { margin: 0 } .examples img { max-width: 100% } figcaption { font-size: .85em; word-break: break-word }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto; font-size: .82em }
.swatch { display: inline-block; width: 1.6em; height: .5em; border: 1px solid #222; vertical-align: middle }
"""


@dataclass(frozen=True)
class Charts:
    """The charts of a split, each a PNG.

    Attributes:
        threshold: IoU, precision and recall by threshold.
        precision_recall: precision by recall.
        calibration: observed share by predicted probability.
    """

    threshold: bytes
    precision_recall: bytes
    calibration: bytes


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        title: of the page.
        facts: of the student and of what measured it, by name.
        cautions: what a reader must know before the figures, a line each.
        training: chart of the epochs; empty: there is none.
        splits: judged, with their charts; the one that counts first.
        data: lines of the data report; empty: it was left out.
        settings: of the run, as TOML; empty: they are not known.
    """

    title: str
    facts: Mapping[str, str]
    cautions: Sequence[str]
    training: bytes
    splits: Sequence[tuple[JudgedSplit, Charts]]
    data: Sequence[str]
    settings: str


def html_of(report: Report) -> str:
    """Return the page."""
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    lines += [f"<title>{escape(report.title)}</title><style>{STYLE}</style></head><body>"]
    lines += [f"<h1>{escape(report.title)}</h1>", *_headline(report)]
    lines += [f'<div class="caution">{escape(text[:1].upper() + text[1:])}.</div>' for text in report.cautions]
    if report.training:
        lines += ["<h2>Training</h2>", _image(report.training, "loss, val IoU and learning rate by epoch", "wide")]
    for judged, charts in report.splits:
        lines += _split(judged, charts)
    if report.data:
        lines += ["<h2>Data</h2>", f"<pre>{escape(chr(10).join(report.data))}</pre>"]
    lines += ["<h2>Student and settings</h2>", *_facts(report.facts)]
    if report.settings:
        lines += [f"<pre>{escape(report.settings)}</pre>"]
    return "\n".join([*lines, "</body></html>", ""])


def _headline(report: Report) -> Iterator[str]:
    for judged, _ in report.splits[:1]:
        counts, slides = judged.counts, judged.scores.with_landslide()
        yield (
            f'<p class="sub">On the {judged.split} split: {len(judged.scores)} images, {slides} with landslide, '
            f"{counts.pixels / 1e6:.2f} million pixels judged, threshold {judged.threshold:g}</p>"
        )
        yield '<div class="figures">'
        for name, value in (
            ("IoU", counts.iou),
            ("precision", counts.precision),
            ("recall", counts.recall),
            ("F1", counts.f1),
        ):
            yield f'<div class="figure"><b>{_number(value)}</b>{name}</div>'
        yield "</div>"


def _split(judged: JudgedSplit, charts: Charts) -> Iterator[str]:
    yield f"<h2>Split {escape(judged.split)}</h2>"
    yield '<div class="charts">'
    yield _image(charts.threshold, f"IoU, precision and recall by threshold, {judged.split}")
    yield _image(charts.precision_recall, f"precision by recall, {judged.split}")
    yield _image(charts.calibration, f"calibration, {judged.split}")
    yield "</div>"
    yield from _groups(judged)
    yield from _confusion(judged.counts)
    kinds = (
        ("Worst images", judged.worst),
        ("Best images", judged.best),
        ("Most false alarms without landslide", judged.alarms),
    )
    if any(examples for _, examples in kinds):
        yield (
            f'<p class="sub">Outlines: {_swatch(TRUTH_COLOR)} truth, {_swatch(CLAIM_COLOR)} what the student maps. '
            "Hatched: no data.</p>"
        )
    for heading, examples in kinds:
        if examples:
            yield f'<h3>{heading}</h3><div class="examples">'
            yield from (_example(one) for one in examples)
            yield "</div>"


def _groups(judged: JudgedSplit) -> Iterator[str]:
    numbers = "".join(f'<th class="number">{heading}</th>' for heading in ("Mpx", *HEADINGS))
    yield f"<h3>By group</h3><table><tr><th>group</th>{numbers}</tr>"
    for name, counts in list(judged.rows.items())[:MOST_ROWS]:
        metrics = counts.as_dict()
        cells = [f"{counts.pixels / 1e6:.2f}", *(_number(metrics.get(column)) for column in COLUMNS)]
        row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        yield f"<tr><td>{escape(name)}</td>{row}</tr>"
    yield "</table>"
    if len(judged.rows) > MOST_ROWS:
        yield f"<p>{len(judged.rows) - MOST_ROWS} more, which kda-train evaluate --json lists</p>"


def _confusion(counts: ConfusionCounts) -> Iterator[str]:
    def cell(pixels: int) -> str:
        return f'<td class="number">{pixels:,} ({pixels / max(counts.pixels, 1):.2%})</td>'

    yield "<h3>Confusion, pixels</h3><table><tr><th></th><th>mapped landslide</th><th>mapped background</th></tr>"
    yield f"<tr><th>landslide</th>{cell(counts.tp)}{cell(counts.fn)}</tr>"
    yield f"<tr><th>background</th>{cell(counts.fp)}{cell(counts.tn)}</tr></table>"


def _example(example: Example) -> str:
    counts = example.counts
    said = f"IoU {_number(counts.iou)}, precision {_number(counts.precision)}, recall {_number(counts.recall)}"
    if not counts.tp + counts.fn:
        said = f"no landslide; {counts.fp / max(counts.pixels, 1):.2%} false alarm"
    shown = f"<br>shown: {escape(example.part)}" if example.part else ""
    caption = f"<figcaption><b>{escape(example.name)}</b><br>{said}{shown}</figcaption>"
    return f"<figure>{_image(example.png, example.name)}{caption}</figure>"


def _facts(facts: Mapping[str, str]) -> Iterator[str]:
    yield "<table>"
    yield from (f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    yield "</table>"


def _image(png: bytes, alt: str, kind: str = "") -> str:
    return f'<img class="{kind}" alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _swatch(color: tuple[int, int, int]) -> str:
    return f'<span class="swatch" style="background: rgb{color}"></span>'


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
