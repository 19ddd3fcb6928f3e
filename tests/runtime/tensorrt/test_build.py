"""Building, against fakes of two generations of the bindings; see `fake_tensorrt` for what they can't show."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_tensorrt import FakeTensorRT, World, importer
from onnx import helper
from student_graphs import student_graph

from kda_edge.errors import BuildRefused, DeviceError, KdaEdgeError, OutOfDeviceMemory
from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.build import BuildOptions, Built, build_engine
from kda_edge.runtime.tensorrt.build_progress import terminal_progress
from kda_edge.runtime.tensorrt.library import Library, open_library
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts

ORIN = Device(0, "Orin", (8, 7), "12.6", 8 * 2**30)
HALF = {"LayerType": "gemm", "Inputs": [{"Format/Datatype": "Half"}], "Outputs": []}
INT8 = {"LayerType": "gemm", "Inputs": [{"Format/Datatype": "Int8"}], "Outputs": []}


@pytest.fixture(params=["10.3.0", "11.4.0"])
def open_fake(request: pytest.FixtureRequest) -> Callable[..., Library]:
    def open_it(world: World) -> Library:
        return open_library(ORIN, import_module=importer(FakeTensorRT(request.param, world)))

    return open_it


def build(library: Library, model: bytes | Path | None = None, **options: Any) -> Built:
    progress = options.pop("progress", None)
    content = student_graph() if model is None else model
    return build_engine(content, device=ORIN, options=BuildOptions(**options), progress=progress, library=library)


def refusal(library: Library, kind: type[KdaEdgeError], model: bytes | None = None, **options: Any) -> str:
    with pytest.raises(KdaEdgeError) as caught:
        build(library, model, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message
    return message


def test_a_graph_becomes_an_engine_with_its_layers(open_fake: Callable[..., Library], tmp_path: Path) -> None:
    world = World(layers=[HALF, HALF, INT8], shapeless_layers=["names", "alone"])
    library = open_fake(world)
    built = build(library, opt_batch=2, max_batch=4)
    assert built.plan.endswith(student_graph())
    assert built.tensorrt_version == library.version
    assert built.build_s > 0
    # Without a context whose shapes are set the inspector tells less; here it would tell names alone.
    assert built.layers == LayerCounts(half=2, int8=1)
    assert world.inspected_shape == (2, 3, 8, 8)
    path = tmp_path / "student.onnx"
    path.write_bytes(student_graph())
    assert build(library, path, opt_batch=2, max_batch=4).plan == built.plan


def test_the_builder_is_told_all_that_it_must_be(open_fake: Callable[..., Library]) -> None:
    world = World()
    library = open_fake(world)
    build(library, opt_batch=2, max_batch=4, workspace_bytes=2**28)
    trt, config = library.trt, world.config
    # TensorRT 10 would choose precisions itself in a network that is not strongly typed.
    assert world.network._flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert config._flags == set()  # TF32 is on unless it is taken off
    assert config._pools == {trt.MemoryPoolType.WORKSPACE: 2**28}
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert [profile._shapes for profile in config._profiles] == [{"image": [(1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)]}]
    assert config.default_device_type == trt.DeviceType.GPU


def test_a_graph_of_a_fixed_batch_needs_no_profile_and_takes_no_other_batch(open_fake: Callable[..., Library]) -> None:
    world = World(layers=[HALF])
    assert build(open_fake(world), student_graph(batch=1)).layers == LayerCounts(half=1)
    assert world.config._profiles == []
    message = refusal(open_fake(World()), BuildRefused, student_graph(batch=1), opt_batch=2, max_batch=4)
    assert "takes 1 tiles a call and an engine for 4" in message


@pytest.mark.parametrize("side", ["height", 0])
def test_a_graph_of_any_tile_is_refused(open_fake: Callable[..., Library], side: Any) -> None:
    assert "(batch, 3, T, T) is needed" in refusal(open_fake(World()), BuildRefused, student_graph(side=side))


def test_what_the_parser_refuses_is_named_with_its_nodes(open_fake: Callable[..., Library]) -> None:
    message = refusal(open_fake(World(refused=("Conv", "MatMul"))), BuildRefused)
    assert "Conv decoder/Conv_1: No importer registered for op." in message
    assert "MatMul decoder/MatMul_3" in message
    assert "Failed to parse the ONNX model" in refusal(open_fake(World()), BuildRefused, b"rubbish")


def test_of_many_refused_nodes_three_are_named_and_the_rest_counted(open_fake: Callable[..., Library]) -> None:
    model = onnx.load_from_string(student_graph())
    for number in range(5):
        model.graph.node.append(helper.make_node("Attention", ["image"], [f"a{number}"], name=f"a/Attention_{number}"))
    message = refusal(open_fake(World(refused=("Attention",))), BuildRefused, model.SerializeToString())
    assert "Attention_2" in message
    assert "Attention_3" not in message
    assert "and 2 more" in message


@pytest.mark.parametrize(("opset", "mode"), [(20, "linear"), (19, "nearest")])
def test_grid_samples_that_would_be_nearest_are_refused(
    open_fake: Callable[..., Library], opset: int, mode: str
) -> None:
    world = World()
    message = refusal(open_fake(world), BuildRefused, student_graph(opset=opset, mode=mode))
    assert "decoder/GridSample_2 as nearest-neighbour" in message
    assert "opset 19" in message
    assert world.builds == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 1 bytes.)", OutOfDeviceMemory),
        ("Error Code 1: Cuda Runtime (out of memory)", OutOfDeviceMemory),
        ("Error Code 10: Internal Error (Could not find any implementation for node x.)", BuildRefused),
    ],
)
def test_a_build_that_fails_tells_why_by_the_log(
    open_fake: Callable[..., Library], error: str, kind: type[DeviceError]
) -> None:
    message = refusal(open_fake(World(errors=(error, "the last word"))), kind)
    assert "the last word" in message
    assert "Orin" in message


def test_errors_of_an_earlier_build_do_not_colour_the_next(open_fake: Callable[..., Library]) -> None:
    world = World(errors=("out of memory",))
    library = open_fake(world)
    refusal(library, OutOfDeviceMemory)
    world.errors = ("no tactic",)
    refusal(library, BuildRefused)


def test_an_engine_that_can_not_be_loaded_after_its_build_is_refused(open_fake: Callable[..., Library]) -> None:
    assert "take back" in refusal(open_fake(World(loads=False)), BuildRefused)


def test_a_library_that_does_not_start_is_a_device_error(open_fake: Callable[..., Library]) -> None:
    message = refusal(open_fake(World(starts=False)), DeviceError)
    assert "CUDA initialization failure with error: 35" in message


def test_the_accelerator_is_used_with_the_gpu_behind_it_and_one_batch(open_fake: Callable[..., Library]) -> None:
    world = World(dla_cores=2, layers=[HALF])
    library = open_fake(world)
    built = build(library, opt_batch=2, max_batch=4, dla_core=1)
    trt, config = library.trt, world.config
    assert (config.default_device_type, config.DLA_core) == (trt.DeviceType.DLA, 1)
    assert config._flags == {trt.BuilderFlag.GPU_FALLBACK}
    assert set(config._profiles[0]._shapes["image"]) == {(4, 3, 8, 8)}
    assert built.layers == LayerCounts(half=1)  # loaded again on the same core


@pytest.mark.parametrize(("cores", "said"), [(0, "has no DLA"), (2, "only 0 to 1")])
def test_an_accelerator_that_is_not_there_is_refused(open_fake: Callable[..., Library], cores: int, said: str) -> None:
    assert said in refusal(open_fake(World(dla_cores=cores)), BuildRefused, dla_core=2)


def test_products_of_dequantised_values_are_counted(open_fake: Callable[..., Library]) -> None:
    library = open_fake(World(layers=[INT8, HALF]))
    assert build(library, student_graph(quantised=True)).layers == LayerCounts(int8=1, half=1, quantised=2)
    assert build(library, student_graph()).layers.quantised == 0


def test_progress_is_told_phase_by_phase(open_fake: Callable[..., Library]) -> None:
    seen: list[tuple[str, int, int]] = []
    build(open_fake(World()), progress=lambda *step: seen.append(step))
    assert seen[:3] == [("Building Engine", 0, 2), ("Tactics", 0, 3), ("Tactics", 1, 3)]
    assert seen[-1] == ("Building Engine", 2, 2)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_what_ends_the_build_early_is_raised_and_not_the_builders_complaint(
    open_fake: Callable[..., Library], kind: type[BaseException]
) -> None:
    seen = []

    def stop(phase: str, done: int, steps: int) -> None:
        seen.append(phase)
        raise kind("enough")

    library = open_fake(World())
    with pytest.raises(kind, match="enough"):
        build(library, progress=stop)
    assert len(seen) == 1
    assert "BuildCanceled" in library.last_error  # TensorRT was told to stop, not left to go on for minutes


def test_progress_is_shown_on_a_terminal_alone() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with terminal_progress(io.StringIO()) as show:
        assert show is None
    terminal = Terminal()
    with terminal_progress(terminal) as show:
        assert show is not None
        show("Tactics", 3, 40)
        assert terminal.getvalue().strip() == "building the engine: Tactics 3/40"
    assert terminal.getvalue().endswith(" \r")  # wiped


@pytest.mark.parametrize(
    "wrong",
    [{"opt_batch": 0}, {"opt_batch": 3, "max_batch": 2}, {"workspace_bytes": 0}, {"dla_core": -1}],
    ids=str,
)
def test_options_that_can_not_be_right_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"needed|bytes|DLA"):
        BuildOptions(**wrong)
