"""A raster in strips of whole rows, so that memory is that of a strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rasterio.windows import Window

STRIP_PX: Final = 4_000_000  # pixels of a strip


def strips(dataset: Any, *, strip_px: int = STRIP_PX) -> Iterator[Window]:
    """Yield windows of full width, top to bottom: whole rows of blocks, as many as fit in `strip_px` pixels, or one."""
    block_px = dataset.block_shapes[0][0]
    step_px = max(1, strip_px // (dataset.width * block_px)) * block_px
    for row in range(0, dataset.height, step_px):
        yield Window(0, row, dataset.width, min(step_px, dataset.height - row))
