from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

from kda_edge.certificate import Budget
from kda_edge.errors import (
    ArtifactError,
    EngineError,
    KdaEdgeError,
    ManifestError,
    NewerManifest,
    Unverified,
    UsageError,
)
from kda_edge.manifest import METADATA_KEY, Manifest
from kda_edge.runtime.engines.artifact import BUNDLED, read_artifact
from kda_edge.runtime.opened_engine import facts_of, open_engine
from kda_edge.tiling.tile_answers import EngineFacts


def refusal(path: Path | None, kind: type[KdaEdgeError]) -> str:
    with pytest.raises(kind) as caught:
        open_engine(path)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [None, (1, 3, 32, 32)], ids=["any batch", "batch of one"])
def test_a_model_of_ours_opens_and_answers(make_model: Callable[..., Path], shape: tuple[int, ...] | None) -> None:
    engine = open_engine(make_model(1 / 255, 0.0, shape=shape, threshold=0.4))
    assert engine.manifest.threshold == 0.4
    tile = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype(np.float32)
    probability = engine(tile)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, tile[:, :1] / 255, atol=1e-6)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    assert "nowhere.onnx does not exist" in refusal(tmp_path / "nowhere.onnx", ArtifactError)


@pytest.mark.parametrize("content", [b"", b"hello world", b"\x08\x0a" * 50], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_onnx_is_refused_with_the_way_to_make_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    message = refusal(path, ArtifactError)
    assert "model.onnx" in message
    assert "kda-export" in message


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert "kda-export" in refusal(tmp_path, ArtifactError)


def test_a_model_cut_short_is_refused(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(make_model().read_bytes()[:-40])
    refusal(path, ArtifactError)


def test_an_onnx_model_of_someone_else_is_refused(make_model: Callable[..., Path]) -> None:
    message = refusal(make_model(manifest=None), ArtifactError)
    assert "no kda-edge manifest" in message
    assert "kda-export" in message


def test_a_manifest_that_does_not_fit_is_refused_with_its_field_and_file(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    broken = json.loads(make_manifest().to_json()) | {"threshold": 7.0}
    message = refusal(make_model(manifest=json.dumps(broken)), ManifestError)
    assert "threshold" in message
    assert ".onnx" in message
    refusal(make_model(manifest="not json"), ManifestError)


def test_a_manifest_of_a_later_kda_edge_asks_for_an_upgrade(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    newer = json.loads(make_manifest().to_json()) | {"schema_version": 99, "unheard_of": 1}
    assert "pip install -U kda-edge" in refusal(make_model(manifest=json.dumps(newer)), NewerManifest)


def without_evidence(why: str, make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]) -> Path:
    certificate = make_manifest().certificate
    assert certificate is not None
    if why == "it is of another graph":
        return make_model(certified=False)
    if why == "it is missing":
        return make_model(certificate=None)
    if why == "nothing was compared":
        return make_model(certificate=replace(certificate, tiles=()))
    if why == "it is of the first schema":
        plain = json.loads(make_manifest().to_json())
        old = {name: plain[name] for name in plain if name in FIRST_SCHEMA}
        return make_model(manifest=json.dumps({**old, "parity": {}, "schema_version": 1}))
    if why == "a byte of a weight was changed":
        path = make_model(scale=0.25)
        content = path.read_bytes()
        quarter = np.float32(0.25).tobytes()
        assert content.count(quarter) == 1
        path.write_bytes(content.replace(quarter, np.float32(0.26).tobytes()))
        return path
    return make_model(certificate=replace(certificate, budget=Budget(max_abs=1e-9)))


FIRST_SCHEMA = (
    *("variant", "parameters", "checkpoint_sha256", "tile_px", "package_version", "input", "classes", "threshold"),
    *("precision", "opset", "training"),
)
REASONS = {
    "it is of another graph": "not the one that its certificate is about",
    "it is missing": "no certificate",
    "nothing was compared": "nothing was compared",
    "it is of the first schema": "no certificate",
    "a byte of a weight was changed": "changed or damaged",
    "a figure is over its budget": "the probability differs by 1e-06",
}


@pytest.mark.parametrize("why", REASONS)
def test_a_model_without_evidence_is_refused_unless_it_is_allowed_and_then_says_so(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest], why: str
) -> None:
    path = without_evidence(why, make_model, make_manifest)
    message = refusal(path, Unverified)
    assert REASONS[why] in message
    assert "--allow-unverified" in message
    with open_engine(path, engine="cpu", allow_unverified=True) as engine:
        assert any("not verified" in note and REASONS[why] in note for note in engine.notes)
        assert engine(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 1, 32, 32)


def test_a_verified_model_has_nothing_to_say(make_model: Callable[..., Path]) -> None:
    with open_engine(make_model(), engine="cpu") as engine:
        assert engine.notes == ()
        assert engine.name == "cpu"


def test_a_model_made_for_tensorrt_says_in_one_line_that_it_runs_on_the_cpu(make_model: Callable[..., Path]) -> None:
    with open_engine(make_model(target="tensorrt", precision="fp16"), engine="cpu") as engine:
        (note,) = engine.notes
    assert "made for TensorRT (fp16) and runs on the CPU" in note
    assert "\n" not in note
    with open_engine(make_model(target="cpu"), engine="cpu") as engine:
        assert engine.notes == ()


def test_an_engine_that_is_not_known_is_refused(make_model: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="tensorrt"):
        open_engine(make_model(), engine="toaster")


def test_the_digest_is_read_from_the_file_itself(make_model: Callable[..., Path]) -> None:
    path = make_model()
    artifact = read_artifact(path)
    assert artifact.manifest.certificate is not None
    assert artifact.graph_sha256 == artifact.manifest.certificate.graph_sha256
    model = onnx.load(path)
    del model.metadata_props[:]
    assert artifact.graph_sha256 == hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    assert METADATA_KEY == "kda_edge.manifest"  # files in the field carry it


@pytest.mark.parametrize(
    "graph",
    [
        {"shape": (1, 3, 64, 64)},
        {"shape": (1, 4, 32, 32)},
        {"shape": (8, 3, 32, 32)},
        {"names": ("pixels", "probability")},
        {"names": ("image", "logits")},
    ],
    ids=str,
)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(
    make_model: Callable[..., Path], graph: dict[str, object]
) -> None:
    assert "manifest asks for" in refusal(make_model(**graph), ArtifactError)


@pytest.mark.parametrize("fault", ["wrong shape", "breaks"])
def test_a_failure_of_onnx_runtime_is_an_engine_error_and_prints_nothing(
    make_model: Callable[..., Path], capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    engine = open_engine(make_model(breaks=fault == "breaks"))
    side_px = 32 if fault == "breaks" else 8
    with pytest.raises(EngineError) as caught:
        engine(np.zeros((1, 3, side_px, side_px), np.float32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_bundled_student_opens_without_a_path() -> None:
    if not resources.files("kda_edge.runtime").joinpath(BUNDLED).is_file():
        pytest.skip("the bundled student has not been exported yet")
    engine = open_engine()
    tile_px = engine.manifest.tile_px
    probability = engine(np.zeros((1, 3, tile_px, tile_px), np.float32))
    assert probability.shape == (1, 1, tile_px, tile_px)
    assert 0 <= probability.min() <= probability.max() <= 1


def test_an_installation_without_the_bundled_student_says_so() -> None:
    if resources.files("kda_edge.runtime").joinpath(BUNDLED).is_file():
        pytest.skip("the bundled student is there")
    assert "--model" in refusal(None, ArtifactError)


def test_the_engine_says_which_graph_runs_and_the_number_of_threads_reaches_it(make_model: Callable[..., Path]) -> None:
    path = make_model()
    with open_engine(path, engine="cpu", threads=2) as engine:
        assert engine.facts.graph_sha256 == read_artifact(path).graph_sha256
        assert engine.facts.max_batch is None
        assert engine.runs._session.get_session_options().intra_op_num_threads == 2
    with pytest.raises(UsageError, match="threads"):
        open_engine(path, threads=-1)
    with open_engine(make_model(shape=(1, 3, 32, 32)), engine="cpu") as engine:
        assert engine.facts.max_batch == 1


@pytest.mark.parametrize(
    ("name", "target", "machine", "batch_invariant", "threads"),
    [
        ("cpu", "any", "x86_64", True, None),
        ("cpu", "cpu", "x86_64", True, None),
        ("cpu", "tensorrt", "x86_64", False, 3),
        ("openvino", "any", "x86_64", True, None),
        ("openvino", "tensorrt", "x86_64", True, None),
        ("openvino-bf16", "any", "x86_64", True, 3),
        ("cpu", "any", "aarch64", False, 3),
        ("openvino", "any", "aarch64", True, 3),
        ("cuda", "any", "x86_64", False, None),
        ("ort-tensorrt", "tensorrt", "x86_64", False, None),
        ("tensorrt", "tensorrt", "aarch64", False, None),
    ],
)
def test_an_engine_promises_no_more_of_its_bytes_than_was_measured(
    name: str, target: str, machine: str, *, batch_invariant: bool, threads: int | None
) -> None:
    """A journal of one batch or number of threads is gone on with on another where these say that it may."""
    assert facts_of(name, 4, "ab" * 32, 3, target=target, machine=machine) == EngineFacts(
        name, "ab" * 32, max_batch=4, batch_invariant=batch_invariant, threads=threads
    )
