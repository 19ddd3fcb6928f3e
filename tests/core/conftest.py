"""The golden outputs of the published model, where they are at hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from places import SHARED

if TYPE_CHECKING:
    import torch

GOLDEN = SHARED / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    if not GOLDEN.is_dir():
        pytest.skip("../shared/golden is not here: outputs of the published code to compare with")
    return GOLDEN


@pytest.fixture(scope="session")
def fill(golden: Path) -> ModuleType:
    """The rule that filled the published model's weights."""
    spec = importlib.util.spec_from_file_location("golden_fill", golden / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def published_state(golden: Path, fill: ModuleType) -> dict[str, dict[str, torch.Tensor]]:
    """A state dict with the published keys and shapes, by variant."""
    import torch  # here, so that the torch-free half of the core is tested where there is no torch

    shapes = json.loads((golden / "state_dict_shapes.json").read_text())
    return {
        variant: {key: torch.from_numpy(value) for key, value in fill.fill_state(keys).items()}
        for variant, keys in shapes.items()
    }
