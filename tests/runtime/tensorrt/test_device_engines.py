"""An engine's answers are held to the CPU's before anybody gets them, on a simulated device that answers wrongly."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_builds import engine_files
from fake_gpu_answers import (
    AnsweringGpu,
    Computes,
    constant,
    not_a_number,
    nothing_but_background,
    right,
    sampling_model,
    shifted_sampling,
    wrong_in_batches,
    wrong_on_half_nodata,
)

from kda_edge.certificate import Budget, Certificate, TileParity
from kda_edge.errors import WrongAnswers
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact

KEPT = ["engine.json", "engine.plan", "parity.json"]


def certificate(budget: Budget) -> Certificate:
    return Certificate("00" * 32, budget, (TileParity("noise", "cd" * 32, 1e-5, 1e-6, 1.0),), {"onnxruntime": "1"})


@pytest.fixture
def model(make_manifest: Callable[..., Manifest], tmp_path: Path) -> Path:
    half = certificate(Budget(iou_points=0.1))
    return sampling_model(tmp_path / "student.onnx", make_manifest(precision="fp16", certificate=half))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def refusal(machine: AnsweringGpu, model: Path, root: Path, **options: int) -> str:
    with pytest.raises(WrongAnswers) as caught:
        machine.open(model, root, **options)
    assert "\n" not in str(caught.value)
    machine.gpu.require_clean()
    return str(caught.value)


def answers_rightly(machine: AnsweringGpu, model: Path, root: Path) -> bool:
    tiles = np.random.default_rng(5).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    with machine.open(model, root) as engine:
        is_right = np.allclose(engine(tiles), right(model.read_bytes(), tiles), atol=1e-5)
    machine.gpu.require_clean()
    return is_right


def test_an_engine_that_answers_as_the_cpu_does_is_compared_once_and_then_remembered(model: Path, root: Path) -> None:
    first, again = AnsweringGpu(), AnsweringGpu()
    for machine in (first, again):
        assert answers_rightly(machine, model, root)
    assert (first.builds, first.compared) == (["gridsample"], 1)
    assert (again.builds, again.compared) == ([], 0)
    assert engine_files(root) == KEPT


def test_what_was_measured_lies_beside_the_engine_tile_by_tile(model: Path, root: Path) -> None:
    with AnsweringGpu().open(model, root) as engine:
        parity = engine.parity
    assert parity is not None
    (path,) = root.rglob("parity.json")
    kept = json.loads(path.read_text())["parity"]
    assert kept == json.loads(parity.to_json())
    assert (path.parent / "engine.plan").is_file()
    names = [tile["tile"] for tile in kept["tiles"]]
    assert "terrain, one half nodata" in names
    assert sum(name.startswith("example_scene.tif, row ") for name in names) >= 8  # those with data
    assert {"tile", "sha256", "max_abs", "mean_abs", "agreement"} == set(kept["tiles"][0])
    assert kept["budget"]["iou_points"] == 0.1
    assert kept["against"].startswith("ONNX Runtime ")
    assert (kept["engine"], kept["sampling"]) == ("tensorrt", "gridsample")
    needs = kept["depends_on"]
    assert (needs["tensorrt"], needs["gpu_driver"], needs["gpu"]) == ("10.3.0", "560.35", "Orin")
    assert needs["graph_sha256"] == read_artifact(model).graph_sha256


@pytest.mark.parametrize(
    ("fault", "max_batch", "tile"),
    [
        (constant, 1, ""),
        (nothing_but_background, 1, ""),
        (not_a_number, 1, "generated terrain 1"),
        (wrong_in_batches, 4, ""),
        (wrong_on_half_nodata, 1, "terrain, one half nodata"),
    ],
)
def test_an_engine_that_is_wrong_in_both_forms_is_refused_with_the_worst_tile_and_nothing_half_written(
    model: Path, root: Path, fault: Computes, max_batch: int, tile: str
) -> None:
    machine = AnsweringGpu(fault)
    said = refusal(machine, model, root, max_batch=max_batch)
    assert machine.builds == ["gridsample", "gather"]
    assert f"tile '{tile}" in said
    assert "TensorRT 10.3.0 on Orin does not answer as ONNX Runtime on the CPU does" in said
    assert "with gathers: " in said
    assert said.endswith("use --engine cpu, and please report this line")
    if fault is not not_a_number:
        assert "the probability differs by " in said
        assert " is allowed" in said
    kept = [] if fault is not_a_number else ["parity.json"]  # no answer may be a passing trouble of the device
    assert engine_files(root) == sorted(["engine.json", "engine.plan", *kept] * 2)

    again = AnsweringGpu(fault)
    assert refusal(again, model, root, max_batch=max_batch) == said
    assert again.builds == []
    assert again.compared == (2 if fault is not_a_number else 0)


def test_an_engine_that_is_wrong_in_batches_alone_is_held_to_the_batches_that_a_scene_gives_it(
    model: Path, root: Path
) -> None:
    assert answers_rightly(AnsweringGpu(wrong_in_batches), model, root)  # with one tile a call
    refusal(AnsweringGpu(wrong_in_batches), model, root, opt_batch=2, max_batch=2)


def test_wrong_grid_sampling_is_gone_where_the_sampling_is_written_as_gathers_and_a_note_says_so(
    model: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = AnsweringGpu(shifted_sampling)
    with caplog.at_level(logging.WARNING, "kda_edge"):
        assert answers_rightly(machine, model, root)
    assert machine.builds == ["gridsample", "gather"]
    assert any("trying the graph with its sampling written as gathers" in record.message for record in caplog.records)
    for machine in (AnsweringGpu(shifted_sampling), AnsweringGpu(shifted_sampling)):
        with machine.open(model, root) as engine:
            (note,) = engine.notes
            assert engine.parity is not None
            assert engine.parity.sampling == "gather"
            assert engine.graph_sha256 != read_artifact(model).graph_sha256
            assert engine.parity.depends_on["graph_sha256"] == engine.graph_sha256
            assert engine.manifest == read_artifact(model).manifest
        assert "computed by gathers, since with GridSample TensorRT 10.3.0 on Orin does not answer" in note
        assert (machine.builds, machine.compared) == ([], 0)
    assert engine_files(root) == sorted(KEPT * 2)


def test_a_model_that_samples_by_gathers_already_has_no_other_form(
    make_manifest: Callable[..., Manifest], tmp_path: Path, root: Path
) -> None:
    facts = make_manifest(sampling="gather", certificate=certificate(Budget(max_abs=1e-4)))
    machine = AnsweringGpu(constant)
    said = refusal(machine, sampling_model(tmp_path / "student.onnx", facts), root)
    assert len(machine.builds) == 1
    assert "with gathers" not in said
    assert said.endswith("0.0001 is allowed); use --engine cpu, and please report this line")


@pytest.mark.parametrize(("changed", "builds"), [({"release": "570.1"}, []), ({"cuda": "12.8"}, ["gridsample"])])
def test_after_a_change_of_the_driver_the_engine_is_compared_again(
    model: Path, root: Path, changed: dict[str, str], builds: list[str]
) -> None:
    """The same plan, if the driver still runs the same CUDA; its answers may be others all the same."""
    assert answers_rightly(AnsweringGpu(), model, root)
    machine = AnsweringGpu(constant, **changed)
    refusal(machine, model, root)
    assert machine.builds == [*builds, "gather"]
    assert machine.compared == 2
    back = AnsweringGpu()
    assert answers_rightly(back, model, root)
    assert back.compared == 1


def test_a_comparison_that_was_interrupted_is_made_again(model: Path, root: Path) -> None:
    calls = 0

    def interrupted(graph: bytes, tiles: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return right(graph, tiles)

    machine = AnsweringGpu(interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.open(model, root)
    machine.gpu.require_clean()
    assert engine_files(root) == ["engine.json", "engine.plan"]
    again = AnsweringGpu()
    assert answers_rightly(again, model, root)
    assert (again.builds, again.compared) == ([], 1)


def test_where_nothing_can_be_kept_the_engine_is_built_and_compared_once_a_start(model: Path, root: Path) -> None:
    root.write_text("a file where the folder should be")
    for _ in range(2):
        machine = AnsweringGpu()
        assert answers_rightly(machine, model, root)
        assert (machine.builds, machine.compared) == (["gridsample"], 1)
