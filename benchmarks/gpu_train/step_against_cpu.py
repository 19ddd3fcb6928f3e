"""One training step on a card against the same on the processor: its loss and its gradient."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ..gpu.parts import Findings, Task
from ..reporting.result import Figure

MOST_LOSS: Final = 1e-4  # relative, of the loss
MOST_GRADIENT: Final = 1e-3  # relative, of the gradient as a whole


def against_cpu(task: Task, findings: Findings) -> None:
    """Hold the loss and the gradient of one float32 step to the processor's."""
    import torch
    import torch.nn.functional as F

    from kda_edge.networks.pvt import DropPath
    from kda_edge.networks.student import Student

    from ..contestants.pytorch import without_tf32

    without_tf32()
    variant, side_px = ("nano", 64) if task.rehearsal else ("base", 256)
    torch.manual_seed(0)
    network = Student(variant).train()
    for module in network.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0  # drawn differently on each device
    image = torch.randn(2, 3, side_px, side_px)
    labels = (torch.rand(2, 1, side_px, side_px) > 0.8).float()

    def step(device: str) -> tuple[float, dict[str, Any]]:
        there = network.to(device)
        there.zero_grad(set_to_none=True)
        loss = F.binary_cross_entropy_with_logits(there(image.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own
        found = {name: p.grad.cpu().double() for name, p in there.named_parameters() if p.grad is not None}
        return float(loss.detach()), found

    (loss, gradient), (expected_loss, expected) = step(task.device), step("cpu")
    findings.settings["step"] = {"variant": variant, "side_px": side_px, "batch": 2, "precision": "fp32, no TF32"}
    hold_to_cpu(loss, gradient, expected_loss, expected, findings)


def hold_to_cpu(
    loss: float, gradient: dict[str, Any], expected_loss: float, expected: dict[str, Any], findings: Findings
) -> None:
    """Add how far a step lies from the processor's; beyond the bounds the part has failed.

    Args:
        loss: of the card.
        gradient: of the card, by parameter, float64.
        expected_loss: of the processor.
        expected: of the processor.
        findings: where it goes.
    """
    apart = sum(float((gradient[name] - value).square().sum()) for name, value in expected.items())
    whole = sum(float(value.square().sum()) for value in expected.values())
    of_loss, of_gradient = abs(loss - expected_loss) / abs(expected_loss), float(np.sqrt(apart / whole))
    findings.figures += [
        Figure("step.loss_off", of_loss, "", "lower"),
        Figure("step.gradient_off", of_gradient, "", "lower"),
    ]
    for what, value, most in (("loss", of_loss, MOST_LOSS), ("gradient", of_gradient, MOST_GRADIENT)):
        if not value <= most:  # nor where it is no number
            findings.failures.append(f"a step's {what} differs from the CPU's by {value:.2g}, {most:g} are allowed")
