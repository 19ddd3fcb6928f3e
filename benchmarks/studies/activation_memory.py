"""How much memory a training step keeps for its backward pass, with and without `--recompute`.

    python -m kda_edge.benchmarks.studies.activation_memory --json benchmarks/results/activation_memory.json

Counted, not measured on a GPU: the bytes of all tensors that autograd keeps in one forward pass of one image, each
storage once, times the batch; and those of weights, gradients and AdamW's two moments in float32. What allocators,
workspaces and, with `--recompute`, the block that is being run again need comes on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kda_edge.commands import ended
from kda_edge.machine import machine_facts
from kda_edge.networks.student import Student

from ..documents.training_tables import activation_memory_table
from ..reporting.text_tables import add_json_option, publish_plain, require_json_path

GB = 1e9
STATE_BYTES = 16  # of a weight: itself, its gradient, two moments, 4 bytes each


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="base")
    parser.add_argument("--crop-px", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    add_json_option(parser, "as benchmarks/results/activation_memory.json")
    options = parser.parse_args(argv)
    return ended("activation_memory", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_json_path(options.json)
    student = Student(options.variant).train()
    weights = sum(p.numel() for p in student.parameters()) * STATE_BYTES
    rows: list[dict[str, Any]] = []
    for recompute in (False, True):
        kept = kept_bytes(student, options.crop_px, recompute=recompute) * options.batch
        rows.append({"recompute": recompute, "kept_gb": kept / GB, "with_weights_gb": (kept + weights) / GB})
    result = {
        "variant": options.variant,
        "crop_px": options.crop_px,
        "batch": options.batch,
        "precision": "fp32",
        "rows": rows,
        "machine": machine_facts(("torch",)),
    }
    publish_plain(result, activation_memory_table(result), json_to=options.json)


def kept_bytes(student: Student, crop_px: int, *, recompute: bool) -> int:
    """Return the bytes that one image's forward pass keeps, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in student.parameters()}
    storages: dict[int, tuple[int, Tensor]] = {}  # the tensor keeps its storage from being used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    student.encoder.recompute = recompute
    image = torch.zeros(1, 3, crop_px, crop_px)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        student(image)
    return sum(size for size, _ in storages.values())


if __name__ == "__main__":
    raise SystemExit(main())
