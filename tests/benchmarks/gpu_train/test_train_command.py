"""kda-train is watched from outside: its steps are counted, a limit interrupts it, lacking memory is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu_reports import PROCESSOR, task_in

from kda_edge.benchmarks.gpu.part_process import run_limited
from kda_edge.benchmarks.gpu_train.train_command import Watch
from kda_edge.benchmarks.gpu_train.watched_runs import data_file, watched


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def test_only_the_first_optimizers_steps_count_and_the_limit_interrupts() -> None:
    watch, student, discriminator = Watch(after_steps=2), optimizer(), optimizer()
    watch.stepped(student)
    watch.stepped(discriminator)
    assert len(watch.ends_s) == 1
    with pytest.raises(KeyboardInterrupt):
        watch.stepped(student)
    timed = Watch(after_s=1e-9)
    timed.stepped(student)
    with pytest.raises(KeyboardInterrupt):
        timed.stepped(student)


@pytest.mark.slow
def test_a_real_run_is_interrupted_after_its_steps_and_tells_them(tmp_path: Path) -> None:
    task = task_in(tmp_path, card=PROCESSOR, rehearsal=True)
    words = [
        "segment",
        "--skip-check",
        "--skip-report",
        "--variant",
        "nano",
        "--crop-px",
        "64",
        "--batch",
        "2",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    words += ["--precision", "fp32", "--data", str(data_file(task, 8)), "--out", str(tmp_path / "run")]
    seen = watched("a", words, ["--after-steps", "2"], task, limit_s=300, start=run_limited)
    assert seen["code"] == 130
    assert len(seen["ends_s"]) == 2
    assert seen["error"] == ""
    wrong = watched("b", [*words, "--epochs", "none"], ["--after-steps", "2"], task, limit_s=300, start=run_limited)
    assert "--epochs" in wrong


OUT_OF_MEMORY = """
import sys, types, runpy
from kda_edge.benchmarks.gpu_train import train_command
def no_memory(name, **options):
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
runpy.run_module = no_memory
raise SystemExit(train_command.main(["--watch", sys.argv[1], "--", "segment"]))
"""


def test_memory_that_runs_out_is_told_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "w.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 137, done.stderr
    assert json.loads((tmp_path / "w.json").read_text())["error"] == "out of memory"
    assert "Traceback" not in done.stderr
