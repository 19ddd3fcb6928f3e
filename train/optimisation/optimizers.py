"""Parameter groups of the optimizers: which weights decay, and which learning rate each step has."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from .schedules import cosine_rate


def decay_groups(module: nn.Module, role: str) -> list[dict[str, Any]]:
    """Return two parameter groups for AdamW: with decay, and without (norms, biases, position embeddings)."""
    named = [(key, p) for key, p in module.named_parameters() if p.requires_grad]
    decayed = [p for key, p in named if p.ndim > 1 and "pos_embed" not in key]
    kept = [p for key, p in named if p.ndim <= 1 or "pos_embed" in key]
    return [{"params": decayed, "role": role}, {"params": kept, "role": role, "weight_decay": 0.0}]


def set_rates(
    optimizer: Optimizer, step: int, rates: dict[str, tuple[float, float]], *, total_steps: int, warmup_steps: int
) -> None:
    """Give each group the rate of its role at a step; `rates` holds the first and last one by role."""
    for group in optimizer.param_groups:
        first, last = rates[group["role"]]
        group["lr"] = cosine_rate(step, total_steps=total_steps, warmup_steps=warmup_steps, first=first, last=last)
