"""The memory that polygons take."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kda_edge.runtime.polygons.connected_components import ComponentStream

MEASURE = """
import sys
from pathlib import Path
import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine
from kda_edge.ground.ground import Frame
from kda_edge.runtime.polygons.polygon_writer import PolygonWriter
def peak_kb():  # getrusage would count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
rows = np.zeros((3, 500, 10_000), np.uint8)
rows[0, 100:140, ::500] = 1
rows[0, 200:300, 100:9_000] = 1
rows[0, 300:, ::2000] = 1  # as high as these rows, and a few as high as the map
rows[0, :100, ::4000] = rows[0, 140:, ::4000] = 1
frame = Frame(500 * 20, 10_000, CRS.from_epsg(32647), Affine(0.5, 0, 300_000, 0, -0.5, 2_900_000))
before = peak_kb()
with PolygonWriter(Path(sys.argv[1]), frame) as writer:
    for _ in range(20):
        writer.add(rows)
    print(writer.finish().count)
print(peak_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("suffix", ["geojson", "gpkg"])
def test_memory_stays_far_below_the_map(tmp_path: Path, suffix: str) -> None:
    """A map of 3 x 100 MB is turned into polygons within 80 MB, 13 of them PROJ and its tables."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path / f"big.{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    count, growth_kb = map(int, done.stdout.split())
    assert count > 20 * 10
    assert growth_kb < 80_000


def test_memory_does_not_grow_with_the_rows() -> None:
    """Ten times the specks, ended and handed on, take no more; nor does the time of one open landslide add up."""
    rows = np.zeros((3, 50, 200), "uint8")
    rows[0, ::2, ::2] = 1
    rows[0, :, 0] = 1
    peaks = []
    for parts in (4, 40):
        stream = ComponentStream(200)
        tracemalloc.start()
        for components in itertools.chain.from_iterable(stream.add(rows) for _ in range(parts)):
            assert len(components) > 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
