"""`kda-train` in a process of its own, watched: what its steps take, what memory they need, within a limit.

    python -m kda_edge.benchmarks.gpu_train.train_command --watch FILE.json [limits] -- segment --data ...

What runs is the command as it ships. It is watched from outside: a hook of PyTorch's after each step of an optimizer,
and the allocator's own peaks. A limit that is reached interrupts it as Ctrl-C would, so that it can be resumed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import runpy
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kda_edge.commands import EXIT_ERROR, ended
from kda_edge.whole_files import write_whole

from ..gpu.part_run import end_with_parent
from ..gpu.parts import is_out_of_memory

OUT_OF_MEMORY: Final = 137  # exit code: as a shell says it of what the system ended for its memory


@dataclass
class Watch:
    """What is seen of a run.

    Attributes:
        after_steps: interrupt after so many steps; 0: never.
        after_s: interrupt when so many seconds have passed since the first step; 0: never.
        first: the optimizer whose steps count: phase 1 has two, the student's steps first.
        ends_s: when each step had ended, on the clock.
    """

    after_steps: int = 0
    after_s: float = 0.0
    first: int = 0
    ends_s: list[float] = field(default_factory=list)

    def stepped(self, optimizer: object, *_: Any) -> None:
        """Note a step, waited for; interrupt at a limit."""
        self.first = self.first or id(optimizer)
        if id(optimizer) != self.first:
            return
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends_s.append(time.perf_counter())
        steps, passed_s = len(self.ends_s), self.ends_s[-1] - self.ends_s[0]
        if (self.after_steps and steps >= self.after_steps) or (self.after_s and passed_s >= self.after_s):
            raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; write what was seen; return its exit code, 137 where the memory ran out."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--watch", type=Path, required=True, metavar="FILE.json")
    add("--after-steps", type=int, default=0)
    add("--after-s", type=float, default=0.0)
    add("--memory-gb", type=float, default=0.0, help="most that PyTorch may take on the device, 1e9 bytes")
    add("--random-weights", action="store_true", help="timm's models by architecture, nothing fetched")
    options = parser.parse_args(words[:cut])
    return ended("train_command", lambda: _run(options, words[cut + 1 :]))


def _run(options: argparse.Namespace, words: Sequence[str]) -> int:
    end_with_parent(os.getppid())
    notes = _stand_in_for_fabric()
    if options.random_weights:
        _without_weights()
    from torch.optim.optimizer import register_optimizer_step_post_hook

    limited = _limit_memory(options.memory_gb)
    watch = Watch(options.after_steps, options.after_s)
    register_optimizer_step_post_hook(watch.stepped)
    sys.argv = ["kda-train", *words]
    code, error = 0, ""
    try:
        runpy.run_module("kda_edge.train", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else EXIT_ERROR
    except Exception as failure:
        if not is_out_of_memory(failure):
            raise
        code, error = OUT_OF_MEMORY, "out of memory"
    seen = {"code": code, "error": error, "ends_s": watch.ends_s, "memory_limited": limited, "notes": notes}
    write_whole(options.watch, json.dumps(seen | _peaks()).encode())
    return code


def _limit_memory(memory_gb: float) -> bool:
    """Keep PyTorch to so much of the device's memory; return whether that could be done."""
    import torch

    if not memory_gb or not torch.cuda.is_available():
        return False
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, memory_gb * 1e9 / total))
    return memory_gb * 1e9 <= total


def _peaks() -> dict[str, float]:
    """Return the allocator's peaks, 1e9 bytes; nothing where there is no card."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {
        "allocated_gb": torch.cuda.max_memory_allocated() / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
    }


def _stand_in_for_fabric() -> list[str]:
    """Have `lightning`, which holds the same code, stand in where lightning-fabric is not installed."""
    if importlib.util.find_spec("lightning_fabric") is not None or importlib.util.find_spec("lightning") is None:
        return []
    sys.modules["lightning_fabric"] = importlib.import_module("lightning.fabric")
    return ["lightning-fabric is not installed: lightning.fabric of the package lightning stood in for it"]


def _without_weights() -> None:
    """Have timm make models with random weights: what they take and how long they compute does not depend on them."""
    import timm

    made: Any = timm.create_model
    setattr(timm, "create_model", lambda name, **options: made(name, **(options | {"pretrained": False})))  # noqa: B010


if __name__ == "__main__":
    sys.exit(main())
