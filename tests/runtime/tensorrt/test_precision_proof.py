"""Layer counts, from entries in the forms that NVIDIA's inspector was recorded to write; numbers and names are ours."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from kda_edge.errors import PrecisionLost
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts, layer_counts, require_precision

INT8_ROWS = "Thirty-two wide channel vectorized row major Int8 format"
HALF_ROWS = "Channel major FP16 format where channel % 8 == 0"
UNKNOWN = "N/A due to dynamic shapes"


def tensor(described: str) -> dict[str, Any]:
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": described}


def layer(kind: str, given: str, made: str, **more: Any) -> dict[str, Any]:
    return {"Name": "n", "LayerType": kind, "Inputs": [tensor(given)], "Outputs": [tensor(made)], **more}


def count(*layers: Any, **also: Any) -> LayerCounts:
    return layer_counts(json.dumps({"Layers": list(layers), "Bindings": ["image"], **also}))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (layer("CaskConvolution", INT8_ROWS, INT8_ROWS, Weights={"Type": "Int8", "Count": 512}), {"int8": 1}),
        # An INT8 layer may give half or float.
        (layer("CaskConvolution", INT8_ROWS, HALF_ROWS, TacticName="turing_fp16_i8816cudnn_int8_small"), {"int8": 1}),
        (layer("CudaDepthwiseConvolution", "Row major Int8 format", "Row major linear FP32"), {"int8": 1}),
        (layer("CaskConvolution", HALF_ROWS, HALF_ROWS, Weights={"Type": "Half", "Count": 8}), {"half": 1}),
        (layer("CaskGemmConvolution", "Row major linear FP16 format.", "Row major linear FP32"), {"half": 1}),
        (layer("CaskDeconvolutionV2", "Channel major FP32 format", "Channel major FP32 format"), {"float32": 1}),
        (layer("gemm", "Half", "Float"), {"half": 1}),
        (layer("gemm", "Float", "Half"), {"float32": 1}),
        (layer("MatrixMultiply", "BFloat16", "BFloat16"), {"other": 1}),
        (layer("gemm", "FP8", "Half"), {"other": 1}),
        (layer("kgen", "Half", "Half", TacticName="_gemm_mha_v2_0x1234"), {"half": 1}),
        (layer("fusion", "Int8", "Half", TacticName="sm80_xmma_gemm_i8f32_i8i32_f32_tn"), {"int8": 1}),
        # Of any batch: the tensors tell nothing, the weights and the kernel's name do.
        (layer("CaskConvolution", UNKNOWN, UNKNOWN, Weights={"Type": "Half", "Count": 8}), {"half": 1}),
        (layer("CaskConvolution", UNKNOWN, UNKNOWN, TacticName="sm80_xmma_fprop_f16f16_f16f16_f16"), {"half": 1}),
        (layer("gemm", UNKNOWN, UNKNOWN, TacticName="sm80_xmma_gemm_f32f32_f32f32_f32_nn"), {"float32": 1}),
        (layer("gemm", UNKNOWN, UNKNOWN), {"untyped": 1}),
        # Integers and masks are not what is multiplied.
        (
            {"LayerType": "gemm", "Inputs": [tensor("Int64"), tensor("Bool"), tensor("Half")], "Outputs": []},
            {"half": 1},
        ),
        # Whole regions: what goes on inside shows at the edges, if it shows at all.
        (layer("Myelin", "Float", "Half"), {"half": 1}),
        (layer("Myelin", "Float", "Float"), {"untyped": 1}),
        # What moves, casts or adds computes nothing that counts.
        (layer("Reformat", "Row major linear FP32", INT8_ROWS, ParameterType="Reformat"), {}),
        (layer("kgen", "Half", "Half", TacticName="__myl_AddMulConvert_0x9"), {}),
        (layer("NoOp", "Half", "Half"), {}),
        ({"LayerType": "signal"}, {}),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_a_layer_counts_by_what_it_multiplies(entry: dict[str, Any], expected: dict[str, int]) -> None:
    assert count(entry) == LayerCounts(**expected)


@pytest.mark.parametrize("name", ["Datatype", "DataType"])
def test_the_split_fields_of_tensorrt_11_are_read(name: str) -> None:
    entry = layer("gemm", "", "")
    entry["Inputs"] = [{"Name": "t", "Format": "Row major linear FP32 format (kLINEAR)", name: "Half"}]
    assert layer_counts(json.dumps({"Layers": [entry], "I/O Tensors": [{"Name": "image"}]})) == LayerCounts(half=1)


def test_names_alone_are_layers_of_which_nothing_is_told() -> None:
    assert count("Conv_1 + Relu_2", "Reformatting CopyNode") == LayerCounts(untyped=2)


def test_the_separators_in_nvidias_names_do_not_break_the_reading() -> None:
    text = '{"Layers": [{"Name": "a\x1eb\x1fc", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Half"}]}]}'
    assert layer_counts(text) == LayerCounts(half=1)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"Layers": 3}', "null"])
def test_an_answer_that_can_not_be_read_counts_nothing_and_says_so(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert layer_counts(text, quantised=4) == LayerCounts(quantised=4)
    assert "can't be read" in caplog.text


def test_the_counts_are_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        count(layer("gemm", "Half", "Half"), layer("gemm", "Int8", "Half"))
    assert [record.getMessage() for record in caplog.records] == [
        "the engine's compute layers: 1 INT8, 1 half, 0 float, 0 other, 0 untold; 0 quantised nodes in the graph"
    ]


@pytest.mark.parametrize(
    ("counts", "holds"),
    [
        (LayerCounts(float32=3, half=2), ("fp32",)),
        (LayerCounts(float32=2, half=2), ()),
        (LayerCounts(float32=2, half=3), ("fp16",)),
        (LayerCounts(float32=2, half=3, int8=4, quantised=8), ("fp16", "int8")),
        (LayerCounts(float32=2, half=3, int8=4, quantised=9), ("fp16",)),
        (LayerCounts(int8=10, half=1, quantised=10), ("fp16", "int8")),
        (LayerCounts(int8=10), ()),  # INT8 layers of a graph that quantises nothing are not what was asked for
    ],
    ids=str,
)
def test_an_engine_holds_the_precision_that_most_of_its_layers_have(
    counts: LayerCounts, holds: tuple[str, ...]
) -> None:
    for asked in ("fp32", "fp16", "int8"):
        if asked in holds:
            require_precision(counts, asked)
        else:
            with pytest.raises(PrecisionLost, match=rf"asked to be {asked} and is not .*; export the model again"):
                require_precision(counts, asked)


def test_an_engine_that_tells_nothing_passes_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    require_precision(LayerCounts(untyped=9, quantised=3), "int8")
    assert "int8 is not checked" in caplog.text


@pytest.mark.parametrize("wrong", [{"int8": -1}, {"half": 1.5}, {"quantised": "3"}, {"other": True}])
def test_counts_are_whole_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is a count"):
        LayerCounts(**wrong)
