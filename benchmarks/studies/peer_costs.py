"""What the networks of the distillation benchmark cost: parameters, GFLOPs, and the time of a tile, in turns.

    python -m kda_edge.benchmarks.studies.peer_costs --json benchmarks/results/peer_costs.json

Each network has fresh weights, since neither depends on them. The time is that of eager PyTorch, float32, inference
mode, batch 1, the students with the folded head; GFLOPs are counted as `paper.complexity` counts them.
Their accuracy is in `benchmarks/results/nano_distillation.json`; docs/performance.md shows both side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kda_edge.commands import ended
from kda_edge.errors import UsageError

from ..measuring.interleaved import interleaved
from ..paper.complexity import complexity_of
from ..reporting.result import Figure, Result
from ..reporting.text_tables import add_json_option, number_text, publish, require_json_path, table_of

DISTILLATION: Final = Path("benchmarks/results/nano_distillation.json")
TILE_PX: Final = 256  # of the bundled student


def main(argv: Sequence[str] | None = None) -> int:
    """Count, measure, print and write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"default: those of {DISTILLATION}")
    parser.add_argument("--tile-px", type=int, default=TILE_PX)
    parser.add_argument("--rounds", type=int, default=40)
    add_json_option(parser)
    options = parser.parse_args(argv)
    return ended("peer_costs", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_json_path(options.json)
    networks = options.networks or networks_of(DISTILLATION)
    result = costs(networks, options.tile_px, options.rounds)
    publish(result, costs_table(result, networks), json_to=options.json)


def networks_of(path: Path) -> list[str]:
    """Return the networks that the distillation benchmark compares, each once.

    Raises:
        UsageError: there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"there is no {path}; run this from the repository's root, or name networks")
    cells = json.loads(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(cell["network"] for cell in (*cells["rows"], *cells["not_run"])))


def costs(networks: Sequence[str], tile_px: int, rounds: int) -> Result:
    """Count each network, and time them all in turns.

    Raises:
        UsageError: no such network.
        MissingDependency: calflops, or a network's library, is not installed.
    """
    times = interleaved({name: _forward(name, tile_px) for name in networks}, rounds=rounds, warm_up=2)
    figures = []
    for name in networks:
        counted, of = complexity_of(name, tile_px), {"network": name}
        figures.append(Figure("parameters", counted.parameters_m, "M", "lower", of))
        figures.append(Figure("gflops", counted.gflops, "GFLOP", "lower", of))
        figures.append(Figure.from_interval("latency.p50", times.percentiles(name).p50, "ms", "lower", of))
    how = "eager PyTorch, float32, inference mode, batch 1, networks in turns"
    return Result("peer_costs", {"tile_px": tile_px, "rounds": rounds, "how": how}, figures)


def costs_table(result: Result, networks: Sequence[str]) -> str:
    """Return the table for people."""
    value = {(figure.name, figure.of["network"]): number_text(figure.value) for figure in result.figures}
    rows = [(name, *(value[figure, name] for figure in ("parameters", "gflops", "latency.p50"))) for name in networks]
    return table_of(("network", "parameters, M", "GFLOPs", "tile p50, ms"), rows)


def _forward(name: str, tile_px: int) -> Callable[[], object]:
    import torch

    from kda_edge.networks.by_name import network_from_name

    network = network_from_name(name).eval()
    image = torch.zeros(1, 3, tile_px, tile_px)

    def forward() -> object:
        with torch.inference_mode():
            return network(image)

    return forward


if __name__ == "__main__":
    raise SystemExit(main())
