"""Small rasters that declare in every way where they hold data, and the truth about it, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from kda_edge.runtime.geo.gdal import open_raster

DTYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    "tiles by band": {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "band", "SPARSE_OK": True},
    "strips": {"blockysize": 7, "compress": "lzw"},
    "rows": {"blockysize": 1},
}
MASKS = ("none", "internal", "beside", "beside, by band")


@dataclass(frozen=True)
class Declared:
    """A raster and what it declares.

    Attributes:
        size_hw: rows and columns.
        count: bands.
        chosen: 1-based numbers of the bands that the model is given.
        dtype: of all bands.
        alpha: 1-based numbers of alpha bands.
        nodata: of each band; None: none. Where they differ the raster is a VRT.
        together: the file's tuple of `NODATA_VALUES`; empty: none.
        mask: one of `MASKS`.
        missing: (band, row, column) of blocks of 16 rows and 32 columns that are not in the file; `tiles by band` only.
        layout: one of `LAYOUTS`.
        seed: of pixels and masks.
    """

    size_hw: tuple[int, int]
    count: int
    chosen: tuple[int, int, int]
    dtype: str = "uint8"
    alpha: tuple[int, ...] = ()
    nodata: tuple[float | None, ...] = ()
    together: tuple[int, ...] = ()
    mask: str = "none"
    missing: tuple[tuple[int, int, int], ...] = ()
    layout: str = "tiles"
    seed: int = 0
    levels: tuple[float, ...] = field(default=(0, 1, 5, 200))

    def pixels(self) -> np.ndarray:
        """(count, H, W): few different values, so that nodata, 0 and data meet in one pixel."""
        rng = np.random.default_rng(self.seed)
        levels = [*self.levels, *((math.nan, math.inf, -math.inf) if self.dtype == "float32" else ())]
        planes = rng.choice(np.array(levels, self.dtype), (self.count, *self.size_hw))
        planes[:, :, : self.size_hw[1] // 3] = np.array(self.levels[1:2], self.dtype)  # one value over many pixels
        for band in self.alpha:
            tops = (0, 1, 127, 255) if self.dtype != "float32" else (0, 0.25, 1, math.nan)
            planes[band - 1] = rng.choice(np.array(tops, self.dtype), self.size_hw)
        for band, row, col in self.missing:
            planes[band - 1, row * 16 : (row + 1) * 16, col * 32 : (col + 1) * 32] = 0
        return planes

    def masks(self) -> np.ndarray:
        """(count, H, W) bool; those of one file are alike unless they are by band."""
        rng = np.random.default_rng(self.seed + 1)
        masks = rng.random((self.count, *self.size_hw)) < 0.8
        return masks if self.mask == "beside, by band" else np.broadcast_to(masks[:1], masks.shape)

    def truth(self) -> tuple[np.ndarray, int]:
        """Where a pixel is valid, (H, W), and how many are not only because one or two of three bands have no data."""
        planes, masks = self.pixels(), self.masks()
        height, width = self.size_hw
        valid, partly = np.zeros(self.size_hw, bool), 0
        for row in range(height):
            for col in range(width):
                own = [self._has_data(planes, masks, band, row, col) for band in self.chosen]
                allowed = self._is_allowed(planes, masks, row, col)
                valid[row, col] = all(own) and allowed
                partly += allowed and any(own) and not all(own)
        return valid, partly

    def _has_data(self, planes: np.ndarray, masks: np.ndarray, band: int, row: int, col: int) -> bool:
        value = float(planes[band - 1, row, col])
        if not math.isfinite(value) or (self.nodata and value == self.nodata[band - 1]):
            return False
        if self.mask == "beside, by band" and not masks[band - 1, row, col]:
            return False
        return (band, row // 16, col // 32) not in self.missing

    def _is_allowed(self, planes: np.ndarray, masks: np.ndarray, row: int, col: int) -> bool:
        if self.mask in ("internal", "beside") and not masks[0, row, col]:
            return False
        if any(not planes[band - 1, row, col] > 0 for band in self.alpha):
            return False
        if any((band, row // 16, col // 32) in self.missing for band in self.alpha):
            return False
        return not (self.together and all(planes[b - 1, row, col] == self.together[b - 1] for b in self.chosen))

    def write(self, folder: Path) -> Path:
        """Write it; returns the path of the raster to open."""
        path = folder / "s.tif"
        alike = len(set(self.nodata)) <= 1
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": self.size_hw[0],
            "width": self.size_hw[1],
            "count": self.count,
            "dtype": self.dtype,
            "crs": "EPSG:32647",
            "transform": Affine(1, 0, 469000, 0, -1, 3446000),
            "photometric": "minisblack",
            "alpha": "no",
            **LAYOUTS[self.layout],
        }
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with open_raster(path, "w", **profile) as dataset:
                self._write_pixels(dataset)
                if self.mask == "internal":
                    dataset.write_mask(self.masks()[0])
            with open_raster(path, "r+") as dataset:  # later, or GDAL would see no need for a mask
                dataset.colorinterp = self._colors()
                if self.nodata and alike:
                    dataset.nodata = self.nodata[0]
                if self.together:
                    dataset.update_tags(NODATA_VALUES=" ".join(map(str, self.together)))
            if self.mask.startswith("beside"):
                self._write_mask_beside(path.with_name("s.tif.msk"))
        return path if alike else self._write_vrt(path.with_suffix(".vrt"))

    def _colors(self) -> list[ColorInterp]:
        return [ColorInterp.alpha if band in self.alpha else ColorInterp.undefined for band in range(1, self.count + 1)]

    def _write_pixels(self, dataset: Any) -> None:
        planes = self.pixels()
        if not self.missing:
            dataset.write(planes)
            return
        for band in range(1, self.count + 1):
            for _, window in dataset.block_windows(band):
                if (band, window.row_off // 16, window.col_off // 32) not in self.missing:
                    rows, cols = window.toslices()
                    dataset.write(planes[band - 1, rows, cols], band, window=window)

    def _write_mask_beside(self, path: Path) -> None:
        height, width = self.size_hw
        count, flags = (self.count, "0") if self.mask == "beside, by band" else (1, "2")  # of each band, or of the file
        with open_raster(path, "w", driver="GTiff", width=width, height=height, count=count, dtype="uint8") as dataset:
            dataset.write(self.masks()[:count].astype(np.uint8) * 255)
            dataset.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": flags for band in range(1, self.count + 1)})

    def _write_vrt(self, path: Path) -> Path:
        def source(band: str) -> str:
            name = '<SourceFilename relativeToVRT="1">s.tif</SourceFilename>'
            return f"<SimpleSource>{name}<SourceBand>{band}</SourceBand></SimpleSource>"

        bands = ""
        for band, (color, nodata) in enumerate(zip(self._colors(), self.nodata, strict=True), 1):
            bands += f'<VRTRasterBand dataType="{DTYPES[self.dtype]}" band="{band}">'
            bands += f"<ColorInterp>{'Alpha' if color == ColorInterp.alpha else 'Undefined'}</ColorInterp>"
            bands += "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
            bands += f"{source(str(band))}</VRTRasterBand>"
        mask = f'<MaskBand><VRTRasterBand dataType="Byte">{source("mask,1")}</VRTRasterBand></MaskBand>'
        together = f'<Metadata><MDI key="NODATA_VALUES">{" ".join(map(str, self.together))}</MDI></Metadata>'
        height, width = self.size_hw
        path.write_text(
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32647</SRS>'
            "<GeoTransform>469000,1,0,3446000,0,-1</GeoTransform>"
            f"{together if self.together else ''}{bands}"
            f"{mask if self.mask in ('internal', 'beside') else ''}</VRTDataset>"
        )
        return path


@st.composite
def declared_rasters(draw: st.DrawFn, size_hw: tuple[int, int] = (40, 50)) -> Declared:
    """Any of them: bands x alpha x nodata x mask x type x chosen bands x layout."""
    count = draw(st.integers(3, 6))
    numbers = list(range(1, count + 1))
    alpha = draw(st.sampled_from([(), *((band,) for band in numbers)])) if count > 3 else ()
    plain = [band for band in numbers if band not in alpha]
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    mask = draw(st.sampled_from(MASKS))
    values: Sequence[float | None] = [None, 0, 1, 5, 300, -7]
    way = draw(st.sampled_from(["none", "one", "by band", "together"]))
    nodata: tuple[float | None, ...] = ()
    if way == "one":
        nodata = (draw(st.sampled_from([0, 1, 5])),) * count
    elif way == "by band" and mask != "beside, by band":
        nodata = tuple(draw(st.sampled_from(values)) for _ in numbers)
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    blocks = st.tuples(st.sampled_from(numbers), st.integers(0, 2), st.integers(0, 1))
    is_tiff = len(set(nodata)) <= 1
    has_missing = layout == "tiles by band" and is_tiff
    return Declared(
        size_hw=size_hw,
        count=count,
        chosen=draw(st.tuples(*[st.sampled_from(plain)] * 3)),
        dtype=dtype,
        alpha=alpha,
        nodata=nodata,
        together=tuple(draw(st.sampled_from([0, 1, 5])) for _ in numbers) if way == "together" else (),
        mask=mask,
        missing=tuple(draw(st.lists(blocks, max_size=4, unique=True))) if has_missing else (),
        layout=layout,
        seed=draw(st.integers(0, 99)),
    )
