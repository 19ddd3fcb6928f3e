"""How much memory a map takes, against a process's own peak."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.mapping.mapped_rows import Bounds
from kda_edge.runtime.runs.memory_bounds import BANDS, MIB, MapMemory, bounds_within, bytes_from, resident_bytes
from kda_edge.tiling.tile_grid import TileGrid

FULL_WIDTH_PX = 20_000
# 100000 for the whole of the promise; a scene of this height takes as much memory.
ROWS_PX = int(os.environ.get("KDA_EDGE_TEST_ROWS", "1500"))

# Not getrusage: its peak is inherited from the process that started this one.
PEAK = """
    import sys
    import numpy as np

    def peak_kib():
        return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

    def engine(tiles):
        return np.full((len(tiles), 1, *tiles.shape[2:]), 0.1, np.float32)
"""

# Maps a scene with an engine that finds nothing and prints what the process's peak memory grew by, in KiB.
RUN_SCENE = """
    from kda_edge.manifest import Manifest
    from kda_edge.runtime import Segmenter
    segmenter = Segmenter(engine, Manifest.from_json(sys.argv[1]))
    before = peak_kib()
    segmenter.predict_scene(sys.argv[2])
    print(peak_kib() - before)
"""

# The same for the rows and the map alone, within the bounds that are given.
RUN_ROWS = """
    from functools import partial
    from pathlib import Path
    from kda_edge.manifest import InputContract
    from kda_edge.runtime.geo.gdal import gdal_session
    from kda_edge.runtime.outputs.map_geotiff import map_writer
    from kda_edge.runtime.mapping.mapped_rows import Bounds, mapped_rows
    from kda_edge.runtime.scenes.scene import open_scene
    from kda_edge.tiling.tile_grid import TileGrid
    from kda_edge.manifest import Manifest
    path, manifest = Path(sys.argv[2]), Manifest.from_json(sys.argv[1])
    tile, *bounds = map(int, sys.argv[3:])
    opened = partial(open_scene, path, manifest.input)
    before = peak_kib()
    with gdal_session(), opened() as scene, map_writer(path.with_suffix(".map"), scene, {}) as writer:
        grid = TileGrid(scene.height_px, scene.width_px, tile, tile // 4)
        for rows in mapped_rows(opened, grid, engine, manifest, block_hw=scene.block_hw, bounds=Bounds(*bounds)):
            writer.write(rows.layers)
        writer.finish()
    print(peak_kib() - before)
"""


def grown_bytes(script: str, *arguments: object) -> int:
    command = [sys.executable, "-c", textwrap.dedent(PEAK) + textwrap.dedent(script), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


def made_scene(path: Path, height: int, width: int, *, sparse: bool = False) -> Path:
    """Write noise, or, where it is sparse, a fifth of noise in a file that holds nothing else."""
    profile = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:32647", "transform": Affine(1, 0, 5e5, 0, -1, 3e6)}
    profile |= {"tiled": True, "SPARSE_OK": True, "nodata": 0, "BIGTIFF": "IF_SAFER"} if sparse else {"tiled": True}
    rows = np.random.default_rng(0).integers(1, 255, (3, 500, width // 3 if sparse else width), np.uint8)
    with rasterio.open(path, "w", height=height, width=width, count=3, **profile) as dataset:
        for row in range(0, height, 5000 if sparse else 500):
            part = rows[:, : min(500, height - row)]
            dataset.write(part, window=Window(width // 5 if sparse else 0, row, part.shape[2], part.shape[1]))
    return path


@pytest.mark.slow
def test_a_scene_ten_times_as_tall_takes_hardly_more_memory(
    tmp_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """Tiling rule 22: 92 MB of pixels more, reader, blend, map, polygons and picture together."""
    facts = make_manifest(tile_px=512).to_json()
    small, tall = (
        grown_bytes(RUN_SCENE, facts, made_scene(tmp_path / f"{height}.tif", height, 512)) for height in (6_000, 60_000)
    )
    print(f"peak memory grew by {small // MIB} MiB at 6 000 rows, {tall // MIB} MiB at 60 000")
    assert tall - small < 60 * MIB


@pytest.mark.slow
def test_a_sparse_scene_of_20_000_columns_takes_less_than_400_mib(
    tmp_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """Map, polygons, picture and journal together, above what the process takes with its engine loaded."""
    scene = made_scene(tmp_path / "scene.tif", ROWS_PX, FULL_WIDTH_PX, sparse=True)
    grown = grown_bytes(RUN_SCENE, make_manifest(tile_px=256).to_json(), scene)
    print(f"peak memory grew by {grown // MIB} MiB at {ROWS_PX} rows of {FULL_WIDTH_PX} px")
    assert grown < 400 * MIB


@pytest.mark.parametrize(
    ("width", "tile", "bounds"),
    [(4_000, 256, Bounds()), (9_000, 512, Bounds(4, 1, 1))],
    ids=["default", "wide tiles in batches"],
)
def test_the_estimate_holds_what_a_process_takes_and_hardly_more(
    tmp_path: Path, make_manifest: Callable[..., Manifest], width: int, tile: int, bounds: Bounds
) -> None:
    scene = made_scene(tmp_path / "scene.tif", 1500, width)
    facts = make_manifest(tile_px=tile).to_json()
    grown = grown_bytes(RUN_ROWS, facts, scene, tile, bounds.batch, bounds.readers, bounds.windows_ahead)
    estimate = MapMemory(TileGrid(1500, width, tile, tile // 4), 1, (256, 256), tile_bytes=0).bytes_for(bounds)
    print(f"grew by {grown // MIB} MiB, estimated {estimate // MIB} MiB")
    assert grown <= estimate <= 2.5 * grown


def test_memory_depends_on_the_width_and_not_on_the_height() -> None:
    def needed(height: int, width: int) -> int:
        return MapMemory(TileGrid(height, width, 256, 64), 1, (256, 256)).bytes_for(Bounds())

    assert needed(10_000_000, 20_000) == needed(2_000, 20_000)
    assert needed(2_000, 40_000) > 1.3 * needed(2_000, 20_000)


MEMORY = MapMemory(TileGrid(5120, 6144, 256, 64), 1, (256, 256), tile_bytes=50 * MIB)


def test_without_a_limit_the_batch_is_what_the_engine_likes_best() -> None:
    assert bounds_within(MEMORY, None) == Bounds(1)
    assert bounds_within(MEMORY, None, best_batch=8) == Bounds(8)


@pytest.mark.parametrize("used", [0, 300 * MIB])
def test_a_limit_takes_the_largest_batch_that_fits_then_readers_then_refuses(used: int) -> None:
    sizes = [MEMORY.bytes_for(Bounds(batch)) for batch in range(1, 9)]
    assert sizes == sorted(set(sizes))
    for batch, size in enumerate(sizes, start=1):
        assert bounds_within(MEMORY, used + size, used_bytes=used, best_batch=8) == Bounds(batch)
        assert bounds_within(MEMORY, used + size - 1, used_bytes=used, best_batch=8) != Bounds(batch)
    least = Bounds(1, readers=1, windows_ahead=1)
    assert bounds_within(MEMORY, used + MEMORY.bytes_for(least), used_bytes=used) == least
    with pytest.raises(UsageError, match="say --max-memory") as caught:
        bounds_within(MEMORY, used + MEMORY.bytes_for(least) - 1, used_bytes=used)
    said = str(caught.value).split("--max-memory ")[1].split()[0]
    assert bounds_within(MEMORY, bytes_from(said), used_bytes=used) == least, "what the message says is enough"


@pytest.mark.parametrize(
    ("text", "size"),
    [("800M", 800 * MIB), ("1.5G", 1536 * MIB), ("2g", 2048 * MIB), ("65536", 65536), ("1 GiB", 1024 * MIB)],
)
def test_an_amount_of_memory_is_read_as_people_write_it(text: str, size: int) -> None:
    assert bytes_from(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "many", "1.5.2G", "G", "1P", "1e9", "nan"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"800M or 1\.5G"):
        bytes_from(text)


def test_this_process_has_some_memory_and_an_unknown_one_has_none(tmp_path: Path) -> None:
    kept = np.ones(40 * MIB, np.uint8)
    assert resident_bytes() > kept.nbytes
    assert resident_bytes(tmp_path / "nothing") == 0
    assert BANDS == 3
