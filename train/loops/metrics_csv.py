"""Metrics of a run as CSV, a line an epoch, for any tracker or spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kda_edge.whole_files import write_whole

METRICS: Final = "metrics.csv"
EPOCH: Final = "epoch"


class MetricsCsv:
    """The file `metrics.csv` of a run, written whole after each epoch.

    Its columns are `epoch` and all figures that were logged so far, by name; a cell is empty where an epoch has no such
    figure or it is not finite.

    Args:
        out: folder of the run.
        first_epoch: what an earlier run wrote of later epochs is dropped.
    """

    def __init__(self, out: Path, first_epoch: int) -> None:
        self._path = out / METRICS
        self._rows = [row for row in _read(self._path) if int(row[EPOCH]) <= first_epoch]

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Add the figures of an epoch, counted from 1.

        Raises:
            OSError: it can't be written; the epochs before are as they were.
        """
        cells = {name: repr(float(value)) if math.isfinite(value) else "" for name, value in figures.items()}
        self._rows.append({EPOCH: str(epoch), **cells})
        text = io.StringIO()
        table = csv.DictWriter(text, list(dict.fromkeys(name for row in self._rows for name in row)), restval="")
        table.writeheader()
        table.writerows(self._rows)
        write_whole(self._path, text.getvalue().encode())


def _read(path: Path) -> list[dict[str, str]]:
    """Return the rows of an earlier run; none where there is no such file, and of a foreign one those with an epoch."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    return [row for row in rows if row.pop("", None) is None and (row.get(EPOCH) or "").isdecimal()]
