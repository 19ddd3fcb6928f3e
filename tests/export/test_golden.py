from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from places import SHARED

from kda_edge.export.config import DeclaredInput, ExportConfig
from kda_edge.export.pipeline import export_checkpoint
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.runtime.opened_engine import open_engine

GOLDEN = SHARED / "golden"
# The golden input is normalised noise: as raw pixels of a contract that changes nothing, it is itself.
AS_IT_IS = DeclaredInput("float32", (-8.0, 8.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.slow
@pytest.mark.skipif(not (GOLDEN / "fill.py").exists(), reason="the golden outputs of the published code are not here")
def test_the_published_tiny_answers_in_onnx_runtime_as_the_published_code_did(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    shapes = json.loads((GOLDEN / "state_dict_shapes.json").read_text())["tiny"]
    state = {key: torch.from_numpy(value) for key, value in fill.fill_state(shapes).items()}
    torch.save(state, tmp_path / "tiny.pt")
    assert read_checkpoint(tmp_path / "tiny.pt").student.variant == "tiny"

    report = export_checkpoint(ExportConfig(tmp_path / "tiny.pt", tile_px=224, input=AS_IT_IS))

    answer = open_engine(report.artifact)(fill.fill_input(224, 224)).astype(np.float64)
    background, landslide = np.load(GOLDEN / "tiny_224x224.npz")["logits"][0].astype(np.float64)
    expected = 1.0 / (1.0 + np.exp(background - landslide))
    assert expected.std() > 0.05
    assert np.abs(answer[0, 0] - expected).max() <= 1e-4
