"""ONNX graphs in the form of a student's, with just the operators that the builder looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def student_graph(
    *, opset: int = 19, batch: int | str = "batch", mode: str = "bilinear", quantised: bool = False, side: Any = 8
) -> bytes:
    """A convolution, a matrix product and a GridSample of which the first two may take dequantised values."""
    constants = {
        "kernel": np.ones((3, 3, 1, 1), np.float32),
        "factor": np.ones((8, 8), np.float32),
        "scale": np.float32(0.1),
        "zero": np.int8(0),
        "grid": np.zeros((1, 8, 8, 2), np.float32),
    }
    nodes, at = [], "image"
    for operator, other in (("Conv", "kernel"), ("MatMul", "factor")):
        if quantised:
            nodes.append(helper.make_node("QuantizeLinear", [at, "scale", "zero"], [f"{at}q"], name=f"q{operator}"))
            nodes.append(
                helper.make_node("DequantizeLinear", [f"{at}q", "scale", "zero"], [f"{at}d"], name=f"d{operator}")
            )
            at += "d"
        nodes.append(helper.make_node(operator, [at, other], [operator], name=f"decoder/{operator}_1"))
        at = operator
    nodes.append(helper.make_node("GridSample", [at, "grid"], ["sampled"], name="decoder/GridSample_2", mode=mode))
    nodes.append(helper.make_node("MatMul", ["sampled", "factor"], ["probability"], name="decoder/MatMul_3"))
    shape = [batch, 3, side, side]
    body = helper.make_graph(
        nodes,
        "student",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content
