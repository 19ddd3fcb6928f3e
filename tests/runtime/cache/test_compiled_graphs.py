"""A compiled graph that is kept answers as the one compiled anew, bit for bit, and is used only if it is the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.runtime.cache.compiled_graphs import FOLDER, KEPT, CompiledGraph
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.openvino_engine import cpu_settings, load_openvino, open_openvino

GRAPH = bytes(range(256)) * 40
SETTINGS: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 2}
real = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"a model")
    return path


def place(model: Path, root: Path, version: str = "2026.1", **settings: Any) -> CompiledGraph:
    return CompiledGraph(model, SETTINGS | settings, version, root=root)


def test_what_is_kept_comes_back_for_the_same_file_settings_and_version_only(model: Path, tmp_path: Path) -> None:
    place(model, tmp_path).keep(GRAPH)
    assert place(model, tmp_path).read() == GRAPH
    assert place(model, tmp_path, version="2026.2").read() is None
    assert place(model, tmp_path, NUM_STREAMS=3).read() is None
    model.write_bytes(b"another model")
    assert place(model, tmp_path).read() is None


@pytest.mark.parametrize("at", [0, 31, 32, 5000, -1])
def test_one_changed_byte_is_not_used_and_taken_away(model: Path, tmp_path: Path, at: int) -> None:
    place(model, tmp_path).keep(GRAPH)
    (path,) = (tmp_path / FOLDER).iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert place(model, tmp_path).read() is None
    assert not path.exists()


def test_a_torn_file_and_one_under_another_s_name_are_not_used(model: Path, tmp_path: Path) -> None:
    place(model, tmp_path).keep(GRAPH)
    (path,) = (tmp_path / FOLDER).iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert place(model, tmp_path).read() is None
    place(model, tmp_path, NUM_STREAMS=3).keep(GRAPH)
    (other,) = (tmp_path / FOLDER).iterdir()
    other.rename(path)
    assert place(model, tmp_path).read() is None


def test_a_graph_that_others_may_write_is_not_used(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place(model, tmp_path).keep(GRAPH)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.chmod(0o666)
    assert place(model, tmp_path).read() is None
    assert "others than you may write" in caplog.text


def test_only_the_newest_few_are_kept(model: Path, tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        place(model, tmp_path, NUM_STREAMS=number).keep(GRAPH)
    assert len(list((tmp_path / FOLDER).iterdir())) == KEPT
    assert place(model, tmp_path, NUM_STREAMS=KEPT + 2).read() == GRAPH


def test_a_cache_that_can_not_be_written_costs_a_line_in_the_log(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    place(model, blocked).keep(GRAPH)
    assert "set KDA_EDGE_CACHE" in caplog.text
    assert place(model, blocked).read() is None
    missing = tmp_path / "missing.onnx"
    place(missing, tmp_path).keep(GRAPH)
    assert place(missing, tmp_path).read() is None


@real
def test_a_kept_graph_answers_bit_for_bit_as_the_one_compiled_anew(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KDA_EDGE_CACHE", str(tmp_path))
    path = make_model(1 / 255, 0.0)
    manifest = read_artifact(path).manifest
    tiles = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    answers = []
    for _ in range(2):
        engine = open_openvino(path, manifest)
        answers.append((engine(tiles).tobytes(), engine.max_batch))
        engine.close()
    assert answers[0] == answers[1]
    (kept,) = (tmp_path / FOLDER).iterdir()
    before = kept.stat().st_mtime_ns
    open_openvino(path, manifest).close()
    assert kept.stat().st_mtime_ns == before  # it was read, not made again

    place_of_it = CompiledGraph(path, cpu_settings(), load_openvino().__version__, root=tmp_path)
    place_of_it.keep(b"no graph at all")
    with caplog.at_level(logging.WARNING):
        engine = open_openvino(path, manifest)
    assert engine(tiles).tobytes() == answers[0][0]
    assert "is compiled anew" in caplog.text
