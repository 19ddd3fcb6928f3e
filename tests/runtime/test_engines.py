from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from kda_edge.errors import ArtifactError, EngineError, KdaEdgeError, ManifestError, NewerManifest
from kda_edge.manifest import Manifest, Parity
from kda_edge.runtime.engines import BUNDLED, open_engine


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


def test_a_model_whose_parity_does_not_hold_is_refused(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    tiles = make_manifest().parity.tiles
    for parity in (Parity(1e-4, (), {}), Parity(1e-9, tiles, {})):
        assert "never shown" in refusal(make_model(parity=parity), ArtifactError)


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
