"""How much the folded head saves: the student's forward pass in both orders of steps, side by side.

    python -m kda_edge.benchmarks.studies.folded_head --variant nano --tile-px 256
        --json benchmarks/results/folded_head.json

Eager PyTorch, float32, batch 1, inference mode. The clock includes the network alone: no reading, no normalisation.
Runs alternate (A B A B), so that a machine that drifts slows both; ratios are told, medians of all rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kda_edge.commands import ended
from kda_edge.machine import machine_facts
from kda_edge.networks.student import VARIANTS, Student

from ..documents.training_tables import folded_head_table
from ..reporting.text_tables import add_json_option, publish_plain, require_json_path


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["nano", "tiny"], choices=list(VARIANTS))
    parser.add_argument("--tile-px", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    add_json_option(parser, "as benchmarks/results/folded_head.json")
    options = parser.parse_args(argv)
    return ended("folded_head", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_json_path(options.json)
    torch.manual_seed(0)
    rows = [measure(variant, options.tile_px, options.rounds) for variant in options.variant]
    result = {
        "benchmark": "folded_head",
        "tile_px": options.tile_px,
        "rounds": options.rounds,
        "machine": machine_facts(("torch",)),
        "rows": rows,
    }
    publish_plain(result, folded_head_table(result), json_to=options.json)


def measure(variant: str, tile_px: int, rounds: int) -> dict[str, str | float]:
    """Return the median times of both orders, the median of their ratios round by round, and how far they differ."""
    student = Student(variant).eval()
    image = torch.randn(1, 3, tile_px, tile_px)
    with torch.inference_mode():
        plain, folded = student.forward_plain(image), student(image)  # warm-up, and the comparison
        times = [(_seconds(student.forward_plain, image), _seconds(student, image)) for _ in range(rounds)]
    return {
        "variant": variant,
        "plain_ms": 1000 * statistics.median(a for a, _ in times),
        "folded_ms": 1000 * statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
        "max_abs_logit": float((folded - (plain[:, 1:] - plain[:, :1])).abs().max()),
    }


def _seconds(forward: Callable[[Tensor], Tensor], image: Tensor) -> float:
    started = time.perf_counter()
    forward(image)
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
