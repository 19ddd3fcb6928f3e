"""Damaged models: each is refused in one line, or its manifest is one that the runtime can work with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from mutations import damaged, damaged_json
from onnx import TensorProto, helper
from oracle import one_line_error
from rasters import MANIFEST, mixed

from kda_edge.manifest import METADATA_KEY
from kda_edge.runtime import Segmenter, read_artifact

SUFFIX: Final = ".onnx"
MOST_TILE_PX: Final = 1024  # a larger tile, which a manifest may claim, takes memory and no other way


def model(manifest: str) -> bytes:
    """Return a small graph with a manifest in its metadata."""
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, 32, 32]) for n, c in (("image", 3), ("x", 1))]
    graph = helper.make_graph([helper.make_node("ReduceMean", ["image"], ["x"], axes=[1])], "g", ports[:1], ports[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    helper.set_model_props(made, {METADATA_KEY: manifest})
    content: bytes = made.SerializeToString(deterministic=True)
    return content


class Models:
    """The file of a model, its bytes or its manifest damaged."""

    name = "models"

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"model{SUFFIX}"
        self._manifests = [MANIFEST.to_json(), _bundled_manifest()]

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        """Return a damaged model."""
        text = self._manifests[int(rng.integers(len(self._manifests)))]
        return SUFFIX, model(damaged_json(rng, text)) if rng.random() < 0.8 else damaged(rng, model(text))

    def check(self, suffix: str, content: bytes) -> str:
        """Read a model and use what its manifest says."""
        self._path.write_bytes(content)
        with one_line_error() as refused:
            manifest = read_artifact(self._path, allow_unverified=True).manifest
        if refused:
            return "refused"
        if manifest.tile_px > MOST_TILE_PX:
            return "read"
        kind = np.dtype(manifest.input.pixel_type)
        with one_line_error() as refused:
            found = Segmenter(mixed, manifest).predict(np.ones((40, 50, 3), kind))
        if refused:
            return "read and refused"
        assert found.mask.shape == (40, 50)
        assert set(np.unique(found.mask)) <= {0, 1}
        return "used"


def _bundled_manifest() -> str:
    path = read_artifact().path
    texts = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    return texts[METADATA_KEY]
