"""The student is the published model: outputs, parameters and operations."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kda_edge.networks.checkpoint import load_student
from kda_edge.networks.student import Student


@pytest.mark.parametrize("size_px", [224, 512])
@pytest.mark.parametrize("variant", ["tiny", "base"])
def test_student_reproduces_the_published_outputs(
    variant: str,
    size_px: int,
    golden: Path,
    fill: ModuleType,
    published_state: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "published.pt"
    torch.save({"state_dict": published_state[variant]}, path)
    student = load_student(path)
    assert student.variant == variant
    expected = np.load(golden / f"{variant}_{size_px}x{size_px}.npz")
    with torch.inference_mode():
        maps = student.encoder(torch.from_numpy(fill.fill_input(size_px, size_px)))
        logit = student.decoder(maps)[0, 0].numpy()
    for stage, found in enumerate(maps, start=1):
        assert tuple(found.shape) == tuple(expected[f"stage{stage}_shape"])
        difference = np.abs(found.flatten()[::97].numpy() - expected[f"stage{stage}"].ravel())
        assert difference.max() <= 1e-4
    step = 3 if size_px == 512 else 1
    background, landslide = expected["logits"][0]
    assert np.abs(logit[::step, ::step] - (landslide - background)).max() <= 1e-4


class _Plain(nn.Module):
    """Counts what the paper counts: the published order of steps."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor) -> Tensor:
        return self.student.forward_plain(image)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_base_counts_as_table_iv_counts() -> None:
    """66.41 M parameters, 0.267 M of them in the decoder, 22.26 GFLOPs at 1 x 3 x 224 x 224."""
    calflops = pytest.importorskip("calflops", reason="calflops counts operations as the paper does")
    student = Student("base").eval()
    flops, _, parameters = calflops.calculate_flops(
        _Plain(student), (1, 3, 224, 224), print_results=False, print_detailed=False, output_as_string=False
    )
    assert f"{parameters / 1e6:.2f}" == "66.41"
    assert f"{sum(p.numel() for p in student.decoder.parameters()) / 1e6:.3f}" == "0.267"
    assert f"{flops / 1e9:.2f}" == "22.26"


@pytest.mark.parametrize(("variant", "millions"), [("nano", 3.31), ("tiny", 28.53), ("large", 87.78), ("huge", 175.76)])
def test_variants_have_the_parameters_they_are_known_by(variant: str, millions: float) -> None:
    with torch.device("meta"):
        student = Student(variant)
    assert round(sum(p.numel() for p in student.parameters()) / 1e6, 2) == millions
