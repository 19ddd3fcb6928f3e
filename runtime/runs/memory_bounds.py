"""Memory bounds: how much a map takes, told before it is begun, and how many tiles at once fit into what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.tiling.tile_grid import TileGrid

from ..geo.gdal import CACHE_BYTES
from ..map_format import BLOCK_PX, HALO_PX
from ..mapping.mapped_rows import ROWS_PX, STEPS_AHEAD, STEPS_BEHIND, Bounds
from ..outputs.map_geotiff import ROWS_BEHIND
from ..outputs.picture import MOST_PX
from ..scenes.read_ahead import ReadPlan

MIB: Final = 2**20
BANDS: Final = 3
# Bytes a pixel, from what the code holds. The sum is compared with a process's peak by
# tests/runtime/runs/test_memory_bounds.py.
BLEND_BYTES: Final = 9  # a row of tiles: mean, weight, failed
BAND_BYTES: Final = 13  # finished rows: masks that wait with the steps, layers of this band, the last and the next
LATER_BYTES: Final = 24  # rows that are handed out, with their user: journal, polygons
BLOCK_ROW_BYTES: Final = 3  # rows of blocks with the writer: class, probability, qa
CELL_BYTES: Final = 2  # a cell of the picture: how many samples its colour has, what it shows; and sums of these,
SUMS: Final = 2  # each so many times as long as a value of the scene
FIXED_BYTES: Final = 48 * MIB  # threads, handles, file directories, and what the allocator keeps
# Bytes a pixel of each tile in a batch, of an engine that does not say: nano takes 460 in ONNX Runtime on a CPU, larger
# students more; a bound with room, not a measurement of each.
ENGINE_BYTES: Final = 1536

_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class MapMemory:
    """The memory that a map takes, and what it depends on.

    Attributes:
        grid: where the tiles lie.
        pixel_bytes: of one band of the scene.
        block_hw: sides of the blocks that the scene is stored in.
        tile_bytes: what the engine needs while it runs, for each tile of a batch; None where nobody knows.
    """

    grid: TileGrid
    pixel_bytes: int
    block_hw: tuple[int, int]
    tile_bytes: int | None = None

    def bytes_for(self, bounds: Bounds) -> int:
        """Return the most memory beyond the loaded engine; independent of the scene's height."""
        grid, stored = self.grid, BANDS * self.pixel_bytes + 1
        width, tile_px = grid.width_px, grid.tile_px
        plan = ReadPlan.for_blocks(self.block_hw)
        window_px = plan.rows_px * min(plan.cols_px, width)
        tile_rows_px = min(tile_px, grid.height_px)
        rows = (
            min(tile_rows_px + 2 * HALO_PX, grid.height_px) * (stored + 1)
            + tile_rows_px * BLEND_BYTES
            + min(tile_px - grid.overlap_px, grid.height_px) * BAND_BYTES
            + min(plan.rows_px, grid.height_px) * stored
            + BLOCK_PX * BLOCK_ROW_BYTES * (ROWS_BEHIND + 1)
        )
        windows = window_px * (stored + 2) * (bounds.windows_ahead + bounds.readers)
        engine = tile_px**2 * ENGINE_BYTES if self.tile_bytes is None else self.tile_bytes
        tiles = tile_px**2 * 4 * (BANDS * (STEPS_AHEAD + 2) + STEPS_BEHIND + 2)
        handed_out = min(max(ROWS_PX, width), grid.height_px * width) * LATER_BYTES
        cells = min(grid.height_px, MOST_PX) * min(width, MOST_PX) * (CELL_BYTES + BANDS * SUMS * self.pixel_bytes)
        fixed = FIXED_BYTES + CACHE_BYTES + cells
        return fixed + rows * width + handed_out + windows + bounds.batch * (tiles + engine)


def bounds_within(memory: MapMemory, limit_bytes: int | None, *, used_bytes: int = 0, best_batch: int = 1) -> Bounds:
    """Return the largest bounds that a limit allows, up to the batch that the engine likes best.

    Args:
        memory: of the map that is to be made.
        limit_bytes: the most memory that the process may take; None is no limit.
        used_bytes: what it takes already, the engine loaded.
        best_batch: tiles a call that the engine is fastest with, 1 or more.

    Raises:
        UsageError: even the least does not fit; the message says what would.
    """
    least = Bounds(1, readers=1, windows_ahead=1)
    if limit_bytes is None:
        return Bounds(best_batch)
    for bounds in (*(Bounds(batch) for batch in range(best_batch, 0, -1)), least):
        if used_bytes + memory.bytes_for(bounds) <= limit_bytes:
            return bounds
    needed = -(-(used_bytes + memory.bytes_for(least)) // MIB)
    raise UsageError(
        f"a scene of {memory.grid.width_px} columns needs about {needed} MiB and {limit_bytes // MIB} MiB are allowed; "
        f"say --max-memory {needed}M or more, or cut the scene into narrower ones"
    )


def bytes_from(text: str) -> int:
    """Return the number of bytes that a text such as `800M` or `1.5G` means; K, M, G and T are powers of 1024.

    Raises:
        UsageError: it is no such text.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise UsageError(f"{text!r} is no amount of memory; say it like 800M or 1.5G")
    return size


def resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return the memory that this process has in use now; 0 where the system does not say."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
