"""A checkpoint of the published size, every weight by a fixed rule: to measure how fast it is, and nothing else.

    python -m kda_edge.benchmarks.studies.golden_checkpoint --golden DIR --variant base -o base.pt
    kda-export --ckpt base.pt -o base.onnx

DIR holds the rule that filled the weights when the published code's outputs were recorded: `fill.py`, whose
`fill_state` makes a state dict of the shapes by variant in `state_dict_shapes.json`. The student learned nothing: no
map of it means anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from kda_edge.commands import ended
from kda_edge.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR")
    parser.add_argument("--variant", default="base")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PT")
    options = parser.parse_args(argv)
    return ended("golden_checkpoint", lambda: write_golden(options.golden, options.variant, options.output))


def write_golden(golden: Path, variant: str, path: Path) -> None:
    """Write the published state dict of a variant, filled by the rule.

    Raises:
        UsageError: the folder does not hold the rule, or no shapes of the variant.
    """
    import torch

    from kda_edge.networks.checkpoint import read_checkpoint, write_content

    shapes_path = golden / "state_dict_shapes.json"
    if not shapes_path.is_file() or not (golden / "fill.py").is_file():
        raise UsageError(f"{golden} does not hold fill.py and state_dict_shapes.json; give the folder that does")
    shapes = json.loads(shapes_path.read_text(encoding="utf-8"))
    if variant not in shapes:
        raise UsageError(f"{shapes_path} has no {variant!r}; it has {', '.join(shapes)}")
    state = _rule(golden / "fill.py").fill_state(shapes[variant])
    write_content(path, {"state_dict": {key: torch.from_numpy(value) for key, value in state.items()}})
    assert read_checkpoint(path).student.variant == variant


def _rule(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_fill", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    raise SystemExit(main())
