"""Tables of what GPU reports found, one for each card, under the card's own name.

`benchmarks/results/gpu/<any name>/` is the folder of a report, as `--out` left it. What was measured in a rehearsal or
on a processor is refused: it can't be shown as a card's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError

from ..gpu.part_file import PartFile, read_part
from ..gpu.parts import PARTS
from ..reporting.result import Figure, Result
from ..reporting.text_tables import estimates_table, number_text, table_of

FOLDER: Final = "gpu"
NOT_YET: Final = "Not measured yet."
INFERENCE: Final[Mapping[str, str]] = {
    "latency.p50": "p50, ms",
    "latency.p90": "p90, ms",
    "latency.p99": "p99, ms",
    "throughput": "Mpx/s",
    "energy.per_mpx": "J/Mpx",
    "share.of_published_limit": "share of the card's limit",
}
# By part: heading of each figure's column. A row is whatever the figures are of; the first column's figure makes rows.
COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "facts": {},
    "onnxruntime": INFERENCE,
    "pytorch": INFERENCE,
    "tensorrt": INFERENCE,
    "training": {
        "throughput.images": "images/s",
        "step.p50": "step p50, ms",
        "memory.allocated": "allocated, GB",
        "memory.reserved": "reserved, GB",
        "memory.fits_24gb": "fits 24 GB",
    },
    "scene": {
        "wall.p50": "wall p50, s",
        "throughput": "Mpx/s",
        "processor.p50": "processor, s",
        "tiles": "tiles",
        "engine.busy": "engine busy",
    },
    "student": {},
}
ORDER: Final = ("contestant", "model", "phase", "precision", "mode", "recompute", "batch", "against")
BARE: Final = ("contestant", "model", "phase", "precision", "mode")
YES_NO: Final = ("memory.fits_24gb", "parity.within_budget")


def gpu_tables(results: Path, part: str) -> str:
    """Return the tables of a part, a card each; that it was not measured yet where there is none.

    Args:
        results: folder of the reports' folders.
        part: its name.

    Raises:
        KeyError: no such part.
        UsageError: a file can't be read, or is not of a GPU.
    """
    columns, told = COLUMNS[part], []
    for path in sorted(results.glob(f"*/{PARTS[part].name}.json")):
        content = read_part(path)
        content.require_of_a_gpu(str(path))
        if content.part != part:
            raise UsageError(f"{path} holds the part {content.part!r}; give each part its own name")
        if content.status != "not_possible" and content.result is not None:
            told.append(_card(content, content.result, columns))
    return "\n\n".join(told) or NOT_YET


def _card(content: PartFile, result: Result, columns: Mapping[str, str]) -> str:
    device = content.device
    versions = [f"{name} {result.versions[name]}" for name in VERSIONS if name in result.versions]
    driver = f", driver {device.driver}" if device.driver else ""
    blocks = [f"**{device.name}** ({result.created[:10]}{driver}, {', '.join(versions)}):"]
    rows = list(_rows(result.figures, columns))
    if rows:
        blocks.append(table_of((PARTS[content.part].name, *columns.values()), rows))
    notes = [] if content.status == "done" else [f"**{content.status.replace('_', ' ')}**: {content.reason}"]
    notes += _alone(result.figures, columns)
    if content.part == "facts":
        notes += [f"{name}: {value}" for name, value in result.settings.get("facts", {}).items()]
    notes += [*result.notes, *(f"left out: {what}" for what in content.left_out)]
    if notes:
        blocks.append("\n".join(f"- {note}" for note in notes))
    if result.estimates:
        blocks.append("Estimates, computed from what was measured:\n\n" + estimates_table(result.estimates))
    return "\n\n".join(blocks)


VERSIONS: Final = ("kda-edge", "onnxruntime-gpu", "onnxruntime", "torch", "tensorrt", "monai")


def _rows(figures: Sequence[Figure], columns: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each thing that the first column's figure is of."""
    first = next(iter(columns), "")
    for of in [figure.of for figure in figures if figure.name == first]:
        mine = {figure.name: figure for figure in figures if figure.of == of}
        yield (_name(of), *(_value(mine.get(name)) for name in columns))


def _alone(figures: Sequence[Figure], columns: Mapping[str, str]) -> list[str]:
    """Return the figures that are in no table, by what they are of."""
    by: dict[str, list[str]] = {}
    for figure in figures:
        if figure.name not in columns:
            by.setdefault(_name(figure.of), []).append(f"{figure.name} {_value(figure)} {figure.unit}".strip())
    return [f"{name}: {', '.join(said)}" if name else ", ".join(said) for name, said in by.items()]


def _name(of: Mapping[str, str | int]) -> str:
    """Return what a figure is of: names bare, numbers and answers with what they are."""
    known = sorted(of, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return ", ".join(str(of[name]) if name in BARE else f"{name} {of[name]}" for name in known)


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.name in YES_NO:
        return "yes" if figure.value else "**no**"
    return number_text(figure.value, 3)
