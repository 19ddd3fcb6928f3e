"""What was measured comes back as it was kept, for what it was measured on and nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from engine_builds import engine_files, warnings

from kda_edge.certificate import Budget, TileParity
from kda_edge.runtime.parity.device_parity import DeviceParity
from kda_edge.runtime.parity.kept_parity import keep_parity, kept_parity

NEEDS = {"gpu": "Orin", "gpu_driver": "540.4", "graph_sha256": "ab" * 32}
PARITY = DeviceParity(
    engine="tensorrt",
    against="ONNX Runtime on a CPU",
    sampling="gather",
    batch=4,
    budget=Budget(max_abs=0.05, iou_points=0.1),
    tiles=(TileParity("a", "ab" * 32, 1 / 3, 0.1, 0.9), TileParity("b", "cd" * 32, 0.0, 0.0, 1.0)),
    depends_on=NEEDS,
)


def test_it_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "parity.json"
    assert kept_parity(path, NEEDS) is None
    keep_parity(path, PARITY)
    assert kept_parity(path, dict(NEEDS)) == PARITY
    assert engine_files(tmp_path) == ["parity.json"]


@pytest.mark.parametrize("other", [*({**NEEDS, name: "else"} for name in NEEDS), {}, {**NEEDS, "tensorrt": "11.4.1"}])
def test_it_is_not_believed_where_it_depends_on_anything_else(tmp_path: Path, other: dict[str, str]) -> None:
    keep_parity(tmp_path / "parity.json", PARITY)
    assert kept_parity(tmp_path / "parity.json", other) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"format": 1, "parity": {}}', '{"format": 1}'])
def test_a_damaged_record_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "parity.json").write_text(content)
    assert kept_parity(tmp_path / "parity.json", NEEDS) is None


@pytest.mark.parametrize("change", [("batch", 0), ("tiles", []), ("budget", {}), ("sampling", "nearest")])
def test_a_record_that_can_not_be_or_of_another_format_is_none(tmp_path: Path, change: tuple[str, object]) -> None:
    path = tmp_path / "parity.json"
    keep_parity(path, PARITY)
    plain = json.loads(path.read_text())
    for wrong in ({**plain, "parity": {**plain["parity"], change[0]: change[1]}}, {**plain, "format": 2}):
        path.write_text(json.dumps(wrong))
        assert kept_parity(path, NEEDS) is None


def test_what_can_not_be_kept_is_one_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    with caplog.at_level(logging.WARNING, "kda_edge"):
        keep_parity(tmp_path / "file" / "parity.json", PARITY)
    (said,) = warnings(caplog)
    assert "KDA_EDGE_CACHE" in said
