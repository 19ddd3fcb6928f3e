"""The memory that polygons take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from landslide_maps import NORTH_UP, UTM

MEASURE = """
import sys
from pathlib import Path
import rasterio
from kda_edge.runtime.polygons import write_polygons
def peak_kb():  # getrusage would count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
before = peak_kb()
with rasterio.Env(GDAL_CACHEMAX=32_000_000):
    print(write_polygons(Path(sys.argv[1]), Path(sys.argv[2])).count)
print(peak_kb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_stays_far_below_the_raster(tmp_path: Path) -> None:
    """A map of 3 x 100 MB is turned into polygons within 180 MB, the interpreter not counted."""
    side, block = 10_000, 500
    path = tmp_path / "big.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": UTM}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    stripe = np.zeros((3, block, side), "uint8")
    stripe[:, 100:140, :: side // 20] = 1
    stripe[:, 200:300, 100:9_000] = 1
    with rasterio.open(path, "w", **profile, **tiles, transform=NORTH_UP) as dataset:
        for row in range(0, side, block):
            dataset.write(stripe, window=((row, row + block), (0, side)))
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "big.geojson")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    count, growth_kb = map(int, done.stdout.split())
    assert count == 20 * 21
    assert growth_kb < 180_000
