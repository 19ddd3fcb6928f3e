"""One picture in the forms that images come in, and the harm that befalls files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio.shutil

from kda_edge.runtime.geo.gdal import open_raster

SIZE_HW = (150, 210)  # small enough that GDAL takes a PNG of it for one block
BLOCKS = {"tiled": True, "blockxsize": 64, "blockysize": 64}

# Written by GDAL: the ending, the driver and its options.
BY_GDAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": (".png", "PNG", {}),
    "jpeg": (".jpg", "JPEG", {"QUALITY": 90}),
    "jpeg 2000": (".jp2", "JP2OpenJPEG", {"QUALITY": "100", "REVERSIBLE": "YES"}),
    "jpeg 2000 tiles": (".jp2", "JP2OpenJPEG", {"QUALITY": "30", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}),
    "webp": (".webp", "WEBP", {}),
    "webp lossless": (".webp", "WEBP", {"LOSSLESS": "YES"}),
    "bmp": (".bmp", "BMP", {}),
    "imagine": (".img", "HFA", {}),
    "imagine compressed": (".img", "HFA", {"COMPRESSED": "YES"}),
    "imagine beside": (".img", "HFA", {"USE_SPILL": "YES"}),
    "envi": (".dat", "ENVI", {}),
    "pcidsk": (".pix", "PCIDSK", {}),
    "tiff": (".tif", "GTiff", {}),
    "tiff deflate": (".tif", "GTiff", {**BLOCKS, "compress": "deflate"}),
    "tiff deflate by band": (".tif", "GTiff", {**BLOCKS, "compress": "deflate", "interleave": "band"}),
    "tiff deflate in one strip": (".tif", "GTiff", {"blockysize": 150, "compress": "deflate"}),
    "tiff lzw": (".tif", "GTiff", {"compress": "lzw"}),
    "tiff jpeg": (".tif", "GTiff", {**BLOCKS, "compress": "jpeg", "photometric": "ycbcr"}),
    "tiff webp": (".tif", "GTiff", {**BLOCKS, "compress": "webp"}),
    "tiff zstd": (".tif", "GTiff", {**BLOCKS, "compress": "zstd"}),
}
FORMS = [*BY_GDAL, "png interlaced", "png with alpha", "jpeg progressive", "jpeg with restarts"]
FOREIGN = ("jpeg 2000", "jpeg 2000 tiles", "imagine", "imagine compressed", "imagine beside", "envi", "pcidsk")
FRAMES = [form for form in FORMS if form not in (*FOREIGN, "tiff webp", "tiff zstd")]  # that OpenCV reads too
CHECKED = [form for form in FORMS if form.startswith("png") or "deflate" in form]  # with check sums all over


def picture(size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """(H, W, 3) uint8 without a 0: soft hills with a little noise, as a camera sees them."""
    rng = np.random.default_rng(0)
    hills = cv2.GaussianBlur(rng.integers(0, 256, (*size_hw, 3)).astype(np.float32), (0, 0), 4)
    scaled = (hills - hills.min()) / (hills.max() - hills.min()) * 200 + 30
    return np.clip(scaled + rng.normal(0, 5, scaled.shape), 1, 255).astype(np.uint8)


def write_form(folder: Path, form: str, image: np.ndarray) -> Path:
    """Write an image (H, W, 3) in one of `FORMS`; return the file that GDAL opens."""
    if form in BY_GDAL:
        ending, driver, options = BY_GDAL[form]
        path, tmp = folder / f"form{ending}", folder / "tmp.tif"
        height, width, count = image.shape
        profile = {"width": width, "height": height, "count": count, "dtype": image.dtype}
        with open_raster(tmp, "w", driver="GTiff", **profile, **(options if driver == "GTiff" else {})) as dataset:
            dataset.write(image.transpose(2, 0, 1))
        if driver == "GTiff":
            return tmp.replace(path)
        rasterio.shutil.copy(tmp, path, driver=driver, **options)
        tmp.unlink()
        for notes in folder.glob("*.aux.xml"):
            notes.unlink()
        return path
    path = folder / f"form.{form[:3] if form.startswith('png') else 'jpg'}"
    if form == "png interlaced":
        path.write_bytes(interlaced(image))
        return path
    blue_first = np.ascontiguousarray(image[..., ::-1])
    options = []
    if form == "png with alpha":
        blue_first = np.dstack([blue_first, np.full(image.shape[:2], 255, np.uint8)])
    elif form == "jpeg progressive":
        options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    else:
        options = [cv2.IMWRITE_JPEG_RST_INTERVAL, 5]
    assert cv2.imwrite(str(path), blue_first, options)
    return path


def pixel_file(path: Path) -> Path:
    """Return the file that holds the pixels of what GDAL opens under a name."""
    beside = path.with_suffix(".ige")
    return beside if beside.exists() else path


def interlaced(image: np.ndarray) -> bytes:
    """Return a PNG in the seven passes of Adam7, which neither GDAL nor OpenCV writes."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + np.ascontiguousarray(row).tobytes()
        for top, left, down, right in passes
        for row in image[top::down, left::right]
    )
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def cuts(content: bytes) -> Iterator[bytes]:
    """Yield the beginning of a file, ten times: without its last byte, down to a twentieth of it."""
    yield content[:-1]
    for share in (0.99, 0.95, 0.9, 0.8, 0.6, 0.5, 0.4, 0.2, 0.05):
        yield content[: int(len(content) * share)]


def holes(content: bytes) -> Iterator[bytes]:
    """Yield a file with bytes overwritten in its middle: by zeros, by 255 and by others."""
    rng = np.random.default_rng(1)
    for share in (0.3, 0.5, 0.8):
        for length in (1, 40, 600):
            for filler in (bytes(length), b"\xff" * length, rng.integers(0, 256, length, np.uint8).tobytes()):
                at = int(len(content) * share)
                harmed = content[:at] + filler + content[at + length :]
                if harmed != content:
                    yield harmed
