"""Tiny models and scenes, made on the spot."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from onnx import TensorProto, helper, numpy_helper
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from kda_edge.artifact_bytes import graph_digest
from kda_edge.certificate import Budget, Certificate, TileParity
from kda_edge.manifest import METADATA_KEY, InputContract, Manifest

UTM = "EPSG:32647"
NORTH_UP = Affine(0.5, 0.0, 469205.25, 0.0, -0.5, 3446192.5)


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """A manifest that the runtime takes, fields changed by keyword; pixel_type and value_range are its input's."""

    def make(**fields: Any) -> Manifest:
        contract = {name: fields.pop(name) for name in ("pixel_type", "value_range", "gsd_m") if name in fields}
        defaults: dict[str, Any] = {
            "variant": "tiny-test",
            "parameters": 1,
            "checkpoint_sha256": "ab" * 32,
            "tile_px": 32,
            "input": InputContract(**contract),
            "certificate": Certificate(
                "00" * 32,
                Budget(max_abs=1e-4),
                (TileParity("noise", "cd" * 32, 1e-6, 1e-7, 1.0),),
                {"onnxruntime": "1"},
            ),
            "package_version": "0.1.0",
        }
        return Manifest(**(defaults | fields))

    return make


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory, make_manifest: Callable[..., Manifest]) -> Callable[..., Path]:
    """An ONNX model whose probability is `offset + scale * band 1`; its manifest by keyword, or as text, or None.

    One that `breaks` opens well and fails when it runs; one not `certified` has the certificate of another graph.
    """
    folder = tmp_path_factory.mktemp("models")
    numbers = itertools.count()

    def make(
        scale: float = 0.0,
        offset: float = 0.8,
        *,
        manifest: str | None = "",
        shape: tuple[Any, ...] | None = None,
        names: tuple[str, str] = ("image", "probability"),
        breaks: bool = False,
        certified: bool = True,
        **fields: Any,
    ) -> Path:
        facts = make_manifest(**fields)
        n, c, h, w = shape or ("N", 3, facts.tile_px, facts.tile_px)
        band = np.array([3 if breaks else 0])  # the fourth band is not there, which shows when the graph runs
        constants = {"first": band, "scale": np.float32(scale), "offset": np.float32(offset)}
        graph = helper.make_graph(
            [
                helper.make_node("Gather", [names[0], "first"], ["band"], axis=1),
                helper.make_node("Mul", ["band", "scale"], ["scaled"]),
                helper.make_node("Add", ["scaled", "offset"], [names[1]]),
            ],
            "tiny",
            [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [n, c, h, w])],
            [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [n, 1, h, w])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        if certified and facts.certificate is not None:
            digest = graph_digest(model.SerializeToString(deterministic=True))
            facts = dataclasses.replace(facts, certificate=dataclasses.replace(facts.certificate, graph_sha256=digest))
        if manifest is not None:
            helper.set_model_props(model, {METADATA_KEY: manifest or facts.to_json()})
        path = folder / f"model{next(numbers)}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    return make


@dataclasses.dataclass(frozen=True)
class SceneFile:
    """A GeoTIFF on disk and what it was made from."""

    path: Path
    image: np.ndarray
    valid: np.ndarray


def write_scene(
    path: Path,
    image: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    mask: str = "none",
    crs: str | None = UTM,
    transform: Affine | None = NORTH_UP,
    **profile: Any,
) -> SceneFile:
    """Write (H, W, C) pixels as a GeoTIFF whose invalid pixels are told by nodata, alpha, internal, sidecar or nan."""
    height, width, count = image.shape
    valid = np.ones((height, width), bool) if valid is None else valid
    stored = image.copy()
    if mask == "nodata":
        stored[~valid] = 0
        profile.setdefault("nodata", 0)
    elif mask == "nan":
        stored[~valid] = np.nan
    elif mask == "alpha":
        top = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
        stored = np.concatenate([stored, (valid * top).astype(image.dtype)[..., None]], axis=2)
    georeference = {name: value for name, value in (("crs", crs), ("transform", transform)) if value is not None}
    profile = {"driver": "GTiff", "height": height, "width": width, "dtype": image.dtype, **georeference, **profile}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=mask == "internal"):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", count=stored.shape[2], **profile) as dataset:
            if mask == "alpha":
                names = ("red", "green", "blue")[:count] if count == 3 else ("undefined",) * count
                dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in (*names, "alpha")]
            dataset.write(stored.transpose(2, 0, 1))
            if mask in ("internal", "sidecar"):
                dataset.write_mask(valid)
    return SceneFile(path, image, valid)


@pytest.fixture(scope="session")
def scene_at() -> Callable[..., SceneFile]:
    """`write_scene` for tests that bring their own pixels and path."""
    return write_scene


@pytest.fixture
def scene(tmp_path: Path) -> SceneFile:
    """A scene of 70 x 90 px, its left part without data (nodata 0)."""
    image = np.random.default_rng(7).integers(1, 256, (70, 90, 3), np.uint8)
    col = np.mgrid[:70, :90][1]
    return write_scene(tmp_path / "scene.tif", image, valid=col >= 20, mask="nodata")


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], list[str]]:
    """Names of everything below the test's folder that a run may have written: hidden parts, maps, pictures."""

    def names() -> list[str]:
        return sorted(
            str(path.relative_to(tmp_path))
            for path in tmp_path.rglob("*")
            if ".part" in path.name or "_landslide" in path.name
        )

    return names
