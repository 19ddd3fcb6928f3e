"""An evaluation of a half graph rounds each half tensor, which ONNX Runtime by itself does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx_graphs import every_tensor, parsed

from kda_edge.export.graphs.graph_view import FLOAT, FLOAT16, GraphView
from kda_edge.export.verifying.half_rounding import rounded_graph
from kda_edge.runtime.engines.onnxruntime_engine import session_options

HALF = np.float16
VALUES = np.array([2.0**-12, 1.0, 1 / 3, 4.0, 1e-7, -7e-6, 65519.0, 65520.0, np.inf, -np.inf], np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[NDArray[Any]]:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"x": x})]


def in_half(body: str, **constants: object) -> onnx.ModelProto:
    """A graph of half nodes, between casts."""
    return parsed(
        f"h = Cast<to = {FLOAT16}>(x)\n{body}\ny = Cast<to = 1>(last)",
        given="float[n] x",
        made="float[n] y",
        constants={name: np.asarray(value, HALF) for name, value in constants.items()},
    )


def numpy_half(x: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore", under="ignore"):
        return x.astype(HALF)


def test_what_a_half_can_not_hold_is_gone_after_two_nodes_in_a_row() -> None:
    model = in_half("up = Add(h, one)\nlast = Sub(up, one)", one=1.0)
    with np.errstate(all="ignore"):
        expected = (numpy_half(VALUES) + HALF(1)) - HALF(1)
    assert expected[0] == 0  # 1 + 2^-12 is 1
    np.testing.assert_array_equal(run(rounded_graph(model), VALUES)[0], expected.astype(np.float32))


def test_a_product_beyond_65504_is_infinite_though_the_next_node_would_bring_it_back() -> None:
    model = in_half("huge = Mul(h, big)\nlast = Mul(huge, small)", big=60000.0, small=2.0**-10)
    with np.errstate(all="ignore"):
        expected = (numpy_half(VALUES) * HALF(60000)) * HALF(2.0**-10)
    assert np.isinf(expected[3])
    np.testing.assert_array_equal(run(rounded_graph(model), VALUES)[0], expected.astype(np.float32))


def test_a_cast_to_half_and_back_rounds_alone() -> None:
    model = in_half("last = Identity(h)")
    np.testing.assert_array_equal(run(rounded_graph(model), VALUES)[0], numpy_half(VALUES).astype(np.float32))


def test_a_product_of_matrices_is_summed_in_float32_and_then_rounded() -> None:
    """Sums of integers that float32 holds and half does not: any order of summing is exact."""
    random = np.random.default_rng(3)
    weight = random.integers(-300, 300, (16, 5)).astype(HALF)
    model = parsed(
        f"h = Cast<to = {FLOAT16}>(x)\nlast = MatMul(h, w)\ny = Cast<to = 1>(last)",
        given="float[n,16] x",
        made="float[n,5] y",
        constants={"w": weight},
    )
    x = random.integers(-20, 20, (7, 16)).astype(np.float32)
    exact = x.astype(np.float64) @ weight.astype(np.float64)
    expected = exact.astype(HALF).astype(np.float32)
    assert (exact != expected).mean() > 0.3
    np.testing.assert_array_equal(run(rounded_graph(model), x)[0], expected)


def random_half_graph(seed: int) -> onnx.ModelProto:
    """Twelve nodes that add, multiply, divide, move and compare halves, drawn from a seed; some are in float32."""
    random = np.random.default_rng(seed)
    halves, floats = ["h"], ["x"]
    lines = [f"h = Cast<to = {FLOAT16}>(x)"]
    constants: Mapping[str, NDArray[Any]] = {
        **{f"k{i}": numpy_half((random.standard_normal((4, 4)) * 10.0 ** (i - 2)).astype(np.float32)) for i in (0, 3)},
        "f": random.standard_normal((4, 4)).astype(np.float32),
        "same": np.array([-1, 4, 4]),
    }
    for number in range(12):
        kind = random.choice(["half", "half", "half", "move", "one", "float", "down"])
        new = f"t{number}"
        a, b = random.choice(halves), random.choice([*halves, "k0", "k3"])
        if kind == "half":
            lines.append(f"{new} = {random.choice(['Add', 'Sub', 'Mul', 'Div', 'Max'])}({a}, {b})")
        elif kind == "move":
            moves = ("Transpose<perm = [0, 2, 1]>({})", "Reshape({}, same)", "Identity({})")
            lines.append(f"{new} = {random.choice(moves).format(a)}")
        elif kind == "one":
            lines.append(f"{new} = {random.choice(['Relu', 'Neg'])}({a})")
        elif kind == "float":
            lines += [f"{new}u = Cast<to = 1>({a})", f"{new}f = Mul({new}u, f)"]
            floats.append(f"{new}f")
            continue
        else:
            lines.append(f"{new} = Cast<to = {FLOAT16}>({random.choice(floats)})")
        halves.append(new)
    lines.append(f"y = Cast<to = 1>({halves[-1]})")
    return parsed("\n".join(lines), given="float[n,4,4] x", made="float[n,4,4] y", constants=constants)


@pytest.mark.parametrize("seed", range(25))
def test_every_half_tensor_of_a_random_graph_is_that_of_numpy(seed: int) -> None:
    model = random_half_graph(seed)
    x = (np.random.default_rng(seed).standard_normal((2, 4, 4)) * 3).astype(np.float32)
    expected = every_tensor(model, {"x": x})
    evaluated = rounded_graph(model)
    np.testing.assert_array_equal(run(evaluated, x)[0], expected["y"])
    # Alone, and not only together: each half tensor as a graph's answer.
    names = [name for name, kind in GraphView.of(model).types.items() if kind == FLOAT16]
    names = [name for name in names if name in expected and not name.startswith("k")]
    evaluated.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, [None] * 3) for name in names)
    for name, value in zip(names, run(evaluated, x)[1:], strict=True):
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name].astype(np.float32), err_msg=name)


def test_a_graph_without_halves_stays_as_it_is() -> None:
    model = parsed(
        "t = Add(x, k)\ny = Relu(t)", given="float[2] x", made="float[2] y", constants={"k": np.ones(2, "f")}
    )
    assert rounded_graph(model) == model
