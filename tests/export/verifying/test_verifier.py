"""A certificate names what its answers were computed with."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from kda_edge.export.verifying.verifier import compared_versions


def test_the_onnx_runtime_that_is_imported_is_named_and_not_one_that_it_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "onnxruntime-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert compared_versions()["onnxruntime"] == onnxruntime.__version__
    assert {"torch", "onnx", "numpy"} <= set(compared_versions())
