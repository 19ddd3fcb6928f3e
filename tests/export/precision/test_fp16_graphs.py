"""Half precision for graphs of other kinds: other heads, quantised layers, constants out of range, random graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx_graphs import every_tensor, parsed

from kda_edge.export.graphs.graph_view import FLOAT, FLOAT16, GraphView
from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.half_plan import half_plan
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.export.verifying.half_rounding import rounded_engine
from kda_edge.manifest import InputContract
from kda_edge.networks.by_name import network_from_name

TILE_PX = 64
INT8 = onnx.TensorProto.INT8


@pytest.mark.parametrize(
    ("name", "in_float32"),
    [
        ("nano+segnext", "hamburger"),
        pytest.param("nano+unet", "decoder.classify/Conv", marks=pytest.mark.slow),
        pytest.param("unet-small", "Resize", marks=pytest.mark.slow),
    ],
)
def test_other_heads_convert_and_answer_alike(name: str, in_float32: str, contract: InputContract) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = network_from_name(name)
        if name != "unet-small":
            for stage in range(1, 5):  # without its blocks, which are known from the student: tracing takes time
                setattr(network.encoder, f"block{stage}", torch.nn.ModuleList())
        if name == "nano+segnext":
            network.decoder.hamburger.ham.steps = 1
        tiles = torch.randint(0, 10001, (2, 3, TILE_PX, TILE_PX)).float()
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
        with torch.no_grad():
            network.train()((tiles - mean) / std)  # the norms see such tiles once
    model = onnx_from_student(network.eval(), contract, TILE_PX).model
    view = GraphView.of(half_graph(model))
    kept = [node for node in view.nodes if in_float32 in node.name and node.op_type != "Cast"]
    assert kept
    assert not [node.name for node in kept for tensor in node.output if view.type_of(tensor) == FLOAT16]
    kinds = [view.type_of(node.output[0]) for node in view.nodes if node.op_type in ("Conv", "MatMul", "ConvTranspose")]
    assert kinds.count(FLOAT16) >= 6
    expected = engine_from_graph(model)(tiles.numpy())
    assert float(np.ptp(expected)) > 1e-4
    np.testing.assert_allclose(rounded_engine(view.model)(tiles.numpy()), expected, rtol=0, atol=5e-3)


SCALES = {"s_in": 0.021, "s_mid": 0.013, "s_tiny": 1e-6}


@pytest.fixture(scope="module")
def quantised() -> onnx.ModelProto:
    """Three convolutions on int8, the second with scales that half can't hold; the last one makes the logits."""
    random = np.random.default_rng(1)
    weights = {f"w{k}": random.integers(-127, 128, (4, 3 if k == 0 else 4, 3, 3)).astype(np.int8) for k in range(2)}
    return parsed(
        """
        normal = Sub(image, mean)
        # stem
        q0 = QuantizeLinear(normal, s_in, zero)
        d0 = DequantizeLinear(q0, s_in, zero)
        dw0 = DequantizeLinear<axis = 0>(w0, s_w0, zeros)
        c0 = Conv<pads = [1, 1, 1, 1]>(d0, dw0, bias)
        r0 = Relu(c0)
        # body
        q1 = QuantizeLinear(r0, s_mid, zero)
        d1 = DequantizeLinear(q1, s_mid, zero)
        shuffled = Transpose<perm = [0, 1, 3, 2]>(d1)
        dw1 = DequantizeLinear(w1, s_tiny, zero)
        c1 = Conv<pads = [1, 1, 1, 1]>(shuffled, dw1)
        big = Mul(c1, k)
        # head
        logit = Conv(big, w2)
        probability = Sigmoid(logit)
        """,
        given=f"float[batch,3,{TILE_PX},{TILE_PX}] image",
        made=f"float[batch,1,{TILE_PX},{TILE_PX}] probability",
        constants={
            **weights,
            "w2": random.standard_normal((1, 4, 1, 1)).astype(np.float32),
            "bias": random.standard_normal(4).astype(np.float32),
            "s_w0": np.array([0.011, 0.007, 0.003, 0.009], np.float32),
            "mean": np.full((1, 3, 1, 1), 5.0, np.float32),
            "k": np.float32(500.0),
            "zero": np.int8(0),
            "zeros": np.zeros(4, np.int8),
            **{name: np.float32(value) for name, value in SCALES.items()},
        },
    )


def test_quantised_layers_give_half_and_keep_their_integers(quantised: onnx.ModelProto) -> None:
    view = GraphView.of(half_graph(quantised))
    onnx.checker.check_model(view.model, full_check=True)
    kinds = {node.name: view.type_of(node.output[0]) for node in view.nodes}
    halves = {name for name, kind in kinds.items() if kind == FLOAT16 and "Linear" in name and ".to_" not in name}
    assert halves == {"stem/DequantizeLinear_2", "stem/DequantizeLinear_3", "body/DequantizeLinear_7"}
    assert [view.type_of(name) for name in ("c0", "r0", "shuffled", "c1", "logit")] == [FLOAT16] * 4 + [FLOAT]
    for name in ("w0", "w1", "zero", "zeros"):
        assert view.type_of(name) == INT8
        np.testing.assert_array_equal(view.constant(name), GraphView.of(quantised).constant(name))


def test_scales_that_half_can_not_hold_stay_float32_with_a_cast_behind_them(quantised: onnx.ModelProto) -> None:
    view = GraphView.of(half_graph(quantised))
    tiny = next(node for node in view.nodes if node.name == "body/DequantizeLinear_9")
    assert [view.type_of(name) for name in (tiny.input[1], tiny.output[0])] == [FLOAT, FLOAT]
    assert view.constant(tiny.input[1]) == np.float32(1e-6)
    assert [node.op_type for node in view.consumers_of(tiny.output[0])] == ["Cast"]
    assert half_plan(quantised).float_nodes[tiny.name] == "a constant that half can't hold"


def test_a_quantisation_and_its_way_back_have_one_scale_whatever_types_they_are_in(quantised: onnx.ModelProto) -> None:
    view = GraphView.of(half_graph(quantised))
    there, back = (next(n for n in view.nodes if n.name.endswith(f"izeLinear_{index}")) for index in (1, 2))
    assert [view.type_of(node.input[1]) for node in (there, back)] == [FLOAT, FLOAT16]
    scales = [view.constant(node.input[1]) for node in (there, back)]
    assert scales[0] == scales[1] == np.float16(SCALES["s_in"])


def test_a_quantised_graph_in_half_answers_alike(quantised: onnx.ModelProto) -> None:
    tiles = np.random.default_rng(2).uniform(0, 10, (2, 3, TILE_PX, TILE_PX)).astype(np.float32)
    expected = engine_from_graph(quantised)(tiles)
    assert expected.std() > 0.02
    half = half_graph(quantised)
    for engine in (engine_from_graph(half), rounded_engine(half)):
        # A value between two integers may fall to the other side: few do, and by one step.
        assert np.abs(engine(tiles) - expected).mean() < 2e-3
        assert np.abs(engine(tiles) - expected).max() < 0.05


@pytest.mark.parametrize(
    ("constant", "fits"),
    [(1e5, False), (-1e9, False), (1e-12, False), (6e4, True), (np.inf, True), (0.0, True), (1e-6, True)],
)
def test_a_node_with_a_constant_that_half_can_not_hold_stays_float32(constant: float, fits: bool) -> None:
    model = parsed(
        "a = Relu(x)\nb = Add(a, k)\nc = Relu(b)\ny = Sigmoid(c)",
        given="float[4] x",
        made="float[4] y",
        constants={"k": np.array([constant, 0.0, 0.0, 0.0], np.float32)},
    )
    plan = half_plan(model)
    assert plan.half_nodes == (("/Relu_0", "/Add_1", "/Relu_2") if fits else ("/Relu_0", "/Relu_2"))
    view = GraphView.of(half_graph(model))
    assert list(view.initializers) == [("k.half" if fits else "k")]


def test_an_answer_that_is_made_in_half_and_taken_on_is_float32_under_its_name() -> None:
    model = parsed(
        "a = Relu(x)\ny = Identity(a)\nb = Neg(y)\nz = Mul(b, b)", given="float[4] x", made="float[4] y, float[4] z"
    )
    half = half_graph(model)
    view = GraphView.of(half)
    assert [view.type_of(name) for name in ("a", "y", "z")] == [FLOAT16, FLOAT, FLOAT]
    negated = next(node for node in view.nodes if node.op_type == "Neg")
    assert view.type_of(negated.input[0]) == FLOAT16
    given = np.array([1 / 3, -1, 7, 1e-9], np.float32)
    made = every_tensor(half, {"x": given})
    np.testing.assert_array_equal(made["y"], np.maximum(given, 0).astype(np.float16).astype(np.float32))


def random_float_graph(seed: int) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """Arithmetic and movement in float32, values of about 1, drawn from a seed; some of it by rule not for half."""
    random = np.random.default_rng(seed)
    made = ["x"]
    lines = []
    for number in range(14):
        a, b = random.choice(made), random.choice([*made, "k", "k"])
        texts = (
            f"Add({a}, {b})",
            f"Mul({a}, k)",
            f"Sub({a}, {b})",
            f"MatMul({a}, w)",
            f"Relu({a})",
            f"Max({a}, far)",
            f"Transpose<perm = [0, 2, 1]>({a})",
            f"Reshape({a}, same)",
            f"Mul({a}, vast)",
        )
        lines.append(f"t{number} = {random.choice(texts)}")
        made.append(f"t{number}")
    lines += [f"left = Add({made[-2]}, {made[-3]})", f"y = Sub({made[-1]}, left)"]
    constants = {
        "k": random.uniform(-1, 1, (4, 4)).astype(np.float32),
        "w": (random.standard_normal((4, 4)) / 4).astype(np.float32),
        "far": np.float32(-7e4),
        "vast": np.full((4, 4), 1e-9, np.float32),
        "same": np.array([-1, 4, 4]),
    }
    model = parsed("\n".join(lines), given="float[n,4,4] x", made="float[n,4,4] y", constants=constants)
    return model, random.uniform(-1, 1, (3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("seed", range(40))
def test_a_random_graph_stays_valid_and_close_in_numpy_that_mixes_no_types(seed: int) -> None:
    model, x = random_float_graph(seed)
    plan = half_plan(model)
    half = half_graph(model)
    expected, answer = every_tensor(model, {"x": x}), every_tensor(half, {"x": x})
    assert answer["y"].dtype == np.float32
    limit = 2e-2 * max(
        1.0, *(float(np.abs(value).max()) for name, value in expected.items() if name not in ("far", "same"))
    )
    np.testing.assert_allclose(answer["y"], expected["y"], rtol=0, atol=limit)
    # Each node is in the type that the plan says.
    kinds = {node.name: answer[node.output[0]].dtype for node in half.graph.node}
    assert all(kinds[name] == np.float16 for name in plan.half_nodes)
    assert all(kinds[name] == np.float32 for name in plan.float_nodes)


def test_the_random_graphs_reach_both_precisions() -> None:
    plans = [half_plan(random_float_graph(seed)[0]) for seed in range(40)]
    assert sum(len(plan.half_nodes) for plan in plans) > 100
    assert {"a constant that half can't hold", "logits", "input normalisation"} <= {
        reason for plan in plans for reason in plan.reasons.values()
    }
