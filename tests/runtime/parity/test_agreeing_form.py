"""The form of a graph that an engine computes rightly: the file's own, else its gather form, else none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_gpu_answers import right, sampling_in, sampling_model
from onnx import helper

from kda_edge.artifact_bytes import graph_digest
from kda_edge.certificate import Budget, TileParity
from kda_edge.errors import DeviceError, NoAnswer, WrongAnswers
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import Artifact, read_artifact
from kda_edge.runtime.parity.agreeing_form import Agreed, Form, agreeing_form, gather_form
from kda_edge.runtime.parity.device_parity import DeviceParity


def parity(max_abs: float, sampling: str = "gridsample") -> DeviceParity:
    tiles = (TileParity("calm", "ab" * 32, 0.0, 0.0, 1.0), TileParity("steep", "ab" * 32, max_abs, 0.0, 1.0))
    return DeviceParity("cuda", "a CPU", sampling, 1, Budget(max_abs=0.1), tiles)


@pytest.fixture
def artifact(make_manifest: Callable[..., Manifest], tmp_path: Path) -> Artifact:
    return read_artifact(sampling_model(tmp_path / "student.onnx", make_manifest()))


def agreed(artifact: Artifact, **max_abs: float | Exception) -> tuple[Agreed, list[str]]:
    """Try forms of which these figures are known, and return what agrees and which forms were asked for."""
    asked = []

    def parity_of(form: Form) -> DeviceParity:
        asked.append(form.sampling)
        found = max_abs[form.sampling]
        if isinstance(found, Exception):
            raise found
        return parity(found, form.sampling)

    return agreeing_form(artifact, parity_of, said="an engine"), asked


def test_the_files_own_form_is_taken_where_it_agrees_and_no_other_is_made(artifact: Artifact) -> None:
    found, asked = agreed(artifact, gridsample=0.1)
    assert asked == ["gridsample"]
    assert found == Agreed(Form(artifact, "gridsample"), parity(0.1))


@pytest.mark.parametrize("wrong", [0.11, NoAnswer("steep", "output from nan to nan is no probability")])
def test_the_gather_form_is_taken_where_the_files_own_does_not_agree(
    artifact: Artifact, wrong: float | Exception
) -> None:
    found, asked = agreed(artifact, gridsample=wrong, gather=0.01)
    assert asked == ["gridsample", "gather"]
    assert found.parity == parity(0.01, "gather")
    assert found.form.graph is not None
    assert found.form.artifact.graph_sha256 == graph_digest(found.form.graph) != artifact.graph_sha256
    (note,) = found.notes
    assert "'steep'" in note


def test_where_neither_agrees_the_message_has_both_distances_and_the_budget(artifact: Artifact) -> None:
    with pytest.raises(WrongAnswers) as caught:
        agreed(artifact, gridsample=0.31, gather=0.27)
    said = str(caught.value)
    assert "the tile 'steep' the probability differs by 0.31, 0.1 is allowed" in said
    assert "with gathers: on the tile 'steep' the probability differs by 0.27" in said
    assert said.endswith("use --engine cpu, and please report this line")
    assert "\n" not in said


def test_a_device_that_fails_ends_the_search(artifact: Artifact) -> None:
    """Only answers speak for another form: a GPU without memory has none for any."""
    with pytest.raises(DeviceError, match="no memory"):
        agreed(artifact, gridsample=DeviceError("no memory"))


def test_the_gather_form_answers_as_the_graph_and_holds_no_grid_sample(artifact: Artifact) -> None:
    form = gather_form(artifact)
    assert isinstance(form, Form)
    assert form.graph is not None
    assert (sampling_in(form.graph), form.sampling) == ("gather", "gather")
    tiles = np.random.default_rng(3).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(right(form.graph, tiles), right(artifact.path.read_bytes(), tiles), atol=1e-5)
    assert gather_form(artifact) == form, "equal bytes each time, or the cache would never know it again"


def test_without_onnx_one_line_names_the_package_and_the_command_that_exports_the_gather_form(
    artifact: Artifact,
) -> None:
    said = gather_form(artifact, find_package=lambda name: None if name == "onnx" else name)
    assert isinstance(said, str)
    assert "pip install onnx" in said
    assert "kda-export --ckpt student.pt --target tensorrt" in said


def test_a_graph_without_grid_sample_has_no_other_form(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest], tmp_path: Path
) -> None:
    others = [
        make_model(),  # whose graph has none
        sampling_model(tmp_path / "gathers.onnx", make_manifest(sampling="gather")),  # as it says
    ]
    for path in others:
        assert gather_form(read_artifact(path)) == "use --engine cpu, and please report this line"


def test_a_grid_sample_that_can_not_be_written_out_is_told_in_one_line(artifact: Artifact, tmp_path: Path) -> None:
    model = onnx.load(artifact.path)
    (node,) = (node for node in model.graph.node if node.op_type == "GridSample")
    node.attribute.append(helper.make_attribute("align_corners", 1))
    path = tmp_path / "corners.onnx"
    onnx.save(model, path)
    said = gather_form(read_artifact(path, allow_unverified=True))
    assert isinstance(said, str)
    assert "up/GridSample is not bilinear between borders" in said
    assert said.endswith("use --engine cpu")
