from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

# Maps a scene with an engine that finds nothing and prints the process's peak memory, in KiB.
RUN = """
    import sys
    import numpy as np
    from kda_edge.manifest import Manifest
    from kda_edge.runtime import Segmenter

    def engine(tiles):
        return np.full((len(tiles), 1, *tiles.shape[2:]), 0.1, np.float32)

    result = Segmenter(engine, Manifest.from_json(sys.argv[1])).predict_scene(sys.argv[2])
    assert result.valid_px == result.height_px * 512
    # Not getrusage: its peak is inherited from the process that started this one.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def tall_scene(path: Path, height: int) -> Path:
    profile = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:32647", "transform": Affine(1, 0, 5e5, 0, -1, 3e6)}
    rows = np.random.default_rng(0).integers(1, 255, (3, 1000, 512), np.uint8)
    with rasterio.open(path, "w", height=height, width=512, count=3, tiled=True, **profile) as dataset:
        for row in range(0, height, 1000):
            dataset.write(rows, window=Window(0, row, 512, 1000))
    return path


@pytest.mark.slow
def test_a_scene_ten_times_as_tall_takes_hardly_more_memory(tmp_path: Path, make_manifest) -> None:  # type: ignore[no-untyped-def]
    """Tiling rule 22: 92 MB of pixels more, reader, blend, map, polygons and picture together."""

    def peak_kib(height: int) -> int:
        path = tall_scene(tmp_path / f"{height}.tif", height)
        facts = make_manifest(tile_px=512).to_json()
        command = [sys.executable, "-c", textwrap.dedent(RUN), facts, str(path)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    small, tall = peak_kib(6_000), peak_kib(60_000)
    print(f"peak memory {small / 1024:.0f} MiB at 6 000 rows, {tall / 1024:.0f} MiB at 60 000")
    assert tall - small < 60 * 1024
