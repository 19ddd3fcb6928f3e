"""Damaged scenes: each is refused in one line, or its map shows pixels that the file really holds, and no others."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from mutations import damaged
from numpy.typing import NDArray
from oracle import one_line_error
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from kda_edge.manifest import InputContract, Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.geo.gdal import GDAL_ERRORS

HEIGHT, WIDTH = 44, 52
MOST_PX: Final = 2**20  # larger ones, which a damaged header can claim, are opened and not mapped: minutes of zeros
PLACE: Final = {"crs": "EPSG:32647", "transform": rasterio.Affine(1, 0, 469000, 0, -1, 3446000)}
BANDS: Final = (1, 2, 3)
OPTIONS: Final = SceneOptions(bands=BANDS, any_gsd=True, restart=True, overwrite=True)
TILE_PX: Final = 32
ROWS_PER_STRIP: Final = 278  # tag of TIFF 6.0


def mixed(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answer with a probability that tells the three bands' values of a pixel, whatever lies around it."""
    return (tiles[:, 0:1] + 2 * tiles[:, 1:2] + 3 * tiles[:, 2:3]) % 251 / np.float32(251)


MANIFEST: Final = Manifest(
    variant="mixed", parameters=1, checkpoint_sha256="ab" * 32, tile_px=TILE_PX, input=InputContract(),
    package_version="0.1.0",
)  # fmt: skip


def seeds(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (suffix, content) of whole files of many kinds."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([rows * 3 + cols, cols * 4, rows * 2 + cols * 2]) % 200 + 20
    image = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 1, 255).astype(np.uint8)
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[:, :9] = hole[30:, 40:] = True
    void = np.where(hole, 0, image).astype(np.uint8)
    alpha = np.where(hole, 0, 255).astype(np.uint8)[None]
    four, six = np.concatenate([image, alpha]), np.concatenate([image, image[:2], alpha])
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    kinds: list[tuple[NDArray[Any], dict[str, Any]]] = [
        (void, {"nodata": 0, "compress": "deflate", **tiles}),
        (void, {"nodata": 0, "compress": "lzw", "predictor": 2, "blockysize": 8}),
        (image, {"compress": "jpeg", "photometric": "ycbcr", **tiles}),
        (image, {"interleave": "pixel", "blockysize": 4}),
        (void, {"nodata": 0, "interleave": "band", "BIGTIFF": "YES"}),
        (image, {"compress": "packbits", "ENDIANNESS": "BIG"}),
        (four, {"compress": "deflate", "photometric": "RGB", "alpha": "YES"}),
        (six, {"compress": "zstd", **tiles}),
        (image, {"compress": "webp", "WEBP_LOSSLESS": "YES", "interleave": "pixel", **tiles}),
    ]
    for number, (pixels, profile) in enumerate(kinds):
        path = folder / f"seed{number}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=len(pixels), dtype="uint8", **PLACE, **profile
        ) as dataset:
            dataset.write(pixels)
            if len(pixels) == 6:
                dataset.colorinterp = [*(ColorInterp[c] for c in ("red", "green", "blue")), *([ColorInterp.gray] * 2),
                                       ColorInterp.alpha]  # fmt: skip
        yield ".tif", path.read_bytes()
    for driver, suffix, options in (
        ("PNG", ".png", {}), ("JPEG", ".jpg", {"quality": 90}), ("WEBP", ".webp", {"lossless": True}),
        ("BMP", ".bmp", {}), ("JP2OpenJPEG", ".jp2", {"reversible": "yes", "quality": 100}),
    ):  # fmt: skip
        path = folder / f"seed{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                path, "w", driver=driver, height=HEIGHT, width=WIDTH, count=3, dtype="uint8", **options
            ) as dataset:
                dataset.write(image)
        yield suffix, path.read_bytes()


@dataclass(frozen=True)
class Reference:
    """What a file holds, block by block, read in the plainest way.

    Attributes:
        image: (3, H, W) of the chosen bands.
        valid: (H, W), all three bands and every alpha band have data.
        lost: (H, W), a block there could not be read.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    lost: NDArray[np.bool_]


def reference_of(path: Path) -> Reference | None:
    """Read a file with nothing but GDAL; None: it can't be opened, or not as three bands of bytes of a sane size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with rasterio.open(path) as dataset:
                if not is_mappable(dataset):
                    return None
                return _read(dataset)
        except (*GDAL_ERRORS, ValueError):
            return None


def is_mappable(dataset: Any) -> bool:
    """Whether a scene has three bands of bytes and a size that is mapped in no time."""
    return (
        dataset.count >= 3
        and set(dataset.dtypes[:3]) == {"uint8"}
        and dataset.width * dataset.height <= MOST_PX
        and dataset.count <= 64
    )


def _read(dataset: Any) -> Reference:
    height, width = dataset.shape
    found = Reference(
        np.zeros((3, height, width), np.uint8), np.ones((height, width), bool), np.zeros((height, width), bool)
    )
    alphas = [number for number, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha]
    step_y, step_x = (min(side, whole) for side, whole in zip(dataset.block_shapes[0], dataset.shape, strict=True))
    for row in range(0, height, step_y):
        for col in range(0, width, step_x):
            window = Window(col, row, min(step_x, width - col), min(step_y, height - row))
            here = np.s_[row : row + int(window.height), col : col + int(window.width)]
            try:
                found.image[:, here[0], here[1]] = dataset.read(BANDS, window=window)
                masks = dataset.read_masks(BANDS, window=window)
                more = [dataset.read(alpha, window=window) for alpha in alphas]
            except GDAL_ERRORS:
                found.lost[here] = True
                continue
            if is_missing(dataset, row // step_y, col // step_x):
                found.valid[here] = False
                continue
            found.valid[here] = (masks != 0).all(axis=0) & np.all([band != 0 for band in more], axis=0)
    return found


def is_missing(dataset: Any, block_row: int, block_col: int) -> bool:
    """Whether a TIFF says that it never had a block; GDAL makes it up."""
    if dataset.driver != "GTiff":
        return False
    if dataset.block_shapes[0] == (1, dataset.width) and rows_per_strip(Path(dataset.name)) >= dataset.height:
        block_row = 0  # the only strip, which GDAL shows as a block a row and has no further offsets of
    name = f"BLOCK_OFFSET_{block_col}_{block_row}"
    return any(dataset.get_tag_item(name, "TIFF", band) is None for band in BANDS)


def rows_per_strip(path: Path) -> int:
    """Return what the first directory of a TIFF says of its strips, as large as can be where it says nothing."""
    content = path.read_bytes()
    order = "<" if content[:2] == b"II" else ">"
    is_big = struct.unpack(f"{order}H", content[2:4])[0] == 43
    at, counted, entry = ("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s")
    (start,) = struct.unpack_from(order + at, content, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + counted, content, start)
    first = start + struct.calcsize(order + counted)
    for number in range(entries):
        tag, kind, _, value = struct.unpack_from(
            order + entry, content, first + number * struct.calcsize(order + entry)
        )
        if tag == ROWS_PER_STRIP:
            number_of = "H" if kind == 3 else "Q" if kind == 16 and is_big else "I"
            return int(struct.unpack_from(order + number_of, value)[0])
    return 2**32


def layers_of(path: Path) -> NDArray[np.uint8]:
    """Return the bands of a map, (3, H, W)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # maps of scenes without a place have none either
        with rasterio.open(path) as dataset:
            layers: NDArray[np.uint8] = dataset.read()
    return layers


class Rasters:
    """Damaged scenes."""

    name = "rasters"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seeds = list(seeds(folder))
        self._segmenter = Segmenter(mixed, MANIFEST)

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        """Return the suffix and the content of a case."""
        suffix, content = self._seeds[int(rng.integers(len(self._seeds)))]
        return suffix, damaged(rng, content)

    def check(self, suffix: str, content: bytes) -> str:
        """Map a file and compare; return in a word what came of it. Raises AssertionError where that is wrong."""
        path = self._folder / f"case{suffix}"
        path.write_bytes(content)
        reference = reference_of(path)
        if reference is None:
            return self._only_opened(path)
        out = self._folder / "maps"
        with one_line_error() as refused:
            result = self._segmenter.predict_scene(path, out, OPTIONS)
        if refused:
            return "refused"
        classes, probability, qa = layers_of(result.map_path)
        known = classes != 255
        assert known.shape == reference.valid.shape, "another size"
        wrongly_known = known & (~reference.valid | reference.lost)
        assert not wrongly_known.any(), f"{wrongly_known.sum()} pixels without data were mapped"
        wrongly_void = ((qa & 1) == 1) & reference.valid & ~reference.lost
        assert not wrongly_void.any(), f"{wrongly_void.sum()} pixels with data count as nodata"
        red, green, blue = reference.image.astype(np.float32)
        expected = np.rint((red + 2 * green + 3 * blue) % 251 / np.float32(251) * 254)
        off = known & (np.abs(expected - probability) > 1)
        assert not off.any(), f"{off.sum()} pixels were mapped from values that the file does not hold"
        return "mapped" if known.all() else "mapped with gaps"

    def _only_opened(self, path: Path) -> str:
        """Open what is not mapped here: it is refused in one line, or it would be too large to be mapped."""
        from kda_edge.runtime.geo.gdal import gdal_session
        from kda_edge.runtime.scenes.scene import open_scene

        with one_line_error() as refused, gdal_session(), open_scene(path, MANIFEST.input, bands=BANDS, any_gsd=True):
            pass
        return "refused" if refused else "opened"
