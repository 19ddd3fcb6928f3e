"""Console output of `kda-infer`: a bar, a sentence or a JSON line a scene, and errors on one line."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from kda_edge import __version__, commands
from kda_edge.errors import KdaEdgeError, quantity

if TYPE_CHECKING:
    from ..results import SceneResult, ShardResult

PROGRAM: Final = "kda-infer"
BAR_CHARS: Final = 30
_IN_JSON: Final = {
    "scene_path": "scene",
    "map_path": "map",
    "polygons_path": "polygons_file",
    "picture_path": "picture",
    "rows_path": "rows",
}


@contextmanager
def warnings_told() -> Iterator[None]:
    """Print what the library warns of, a line each; on its own it is silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter(f"{PROGRAM}: %(message)s"))
    log = logging.getLogger("kda_edge")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def bar(name: str, stream: TextIO) -> Callable[[int, int], None]:
    """Return a progress that draws a bar on a terminal."""

    def show(done: int, total: int) -> None:
        filled = BAR_CHARS * done // total
        drawn = "#" * filled + "." * (BAR_CHARS - filled)
        print(f"\r{name} [{drawn}] {done}/{total} tiles", end="", file=stream, flush=True)

    return show


def complain(error: KdaEdgeError) -> int:
    """Print an error; return its exit code."""
    return commands.complain(PROGRAM, error)


def sentence(result: SceneResult | ShardResult) -> str:
    """Return what a person wants to know of a scene, on one line."""
    from ..results import ShardResult

    notes = "".join(f"; {note}" for note in result.notes)
    if isinstance(result, ShardResult):
        return (
            f"{result.scene_path}: shard {result.shard}, {result.end_row - result.first_row:,} rows "
            f"-> {result.rows_path} in {result.seconds:.1f} s; join all shards with: {PROGRAM} merge{notes}"
        )
    share = result.landslide_px / result.valid_px if result.valid_px else 0.0
    area = quantity(result.polygons, "polygon")
    if result.area_m2 is not None:
        area += f", {result.area_m2:,.0f} m2"
    return (
        f"{result.scene_path}: landslide on {share:.2%} of {result.valid_px:,} px ({area}) "
        f"-> {result.map_path} in {result.seconds:.1f} s with {result.engine}{notes}"
    )


def json_line(result: SceneResult | ShardResult) -> str:
    """Return all that is known of a scene, as one JSON object on one line."""
    plain: dict[str, Any] = dataclasses.asdict(result)
    plain = {_IN_JSON.get(name, name): str(v) if isinstance(v, Path) else v for name, v in plain.items()}
    return json.dumps(plain | {"version": __version__}, allow_nan=False)
