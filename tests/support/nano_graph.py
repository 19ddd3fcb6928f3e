"""The graph of the student `nano` that learned: four GridSamples, as the bundled student has none."""

from __future__ import annotations

from functools import cache

import onnx
from places import BUNDLED

from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.networks.checkpoint import read_checkpoint

TILE_PX = 256


def nano_graph() -> onnx.ModelProto:
    """Return it in float32 for tiles of `TILE_PX`, a copy for each caller."""
    return onnx.load_from_string(_exported())


@cache
def _exported() -> bytes:
    checkpoint = read_checkpoint(BUNDLED / "student_nano.pt")
    content: bytes = onnx_from_student(checkpoint.student, checkpoint.input, TILE_PX).model.SerializeToString()
    return content
