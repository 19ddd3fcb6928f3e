"""Two processes give what one gives: both phases, started with torchrun, against the same command alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, read_content, write_checkpoint
from kda_edge.networks.pvt import DropPath
from kda_edge.train.segmentation.losses import LossWeights, segmentation_loss

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run(arguments: Sequence[str], *, processes: int, memory_format: str = "contiguous") -> None:
    launcher = TORCHRUN if processes > 1 else ()
    command = [sys.executable, *launcher, "-m", "kda_edge.train", *arguments, "--device", "cpu", "--precision", "fp32"]
    command += ["--memory-format", memory_format]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def assert_equal_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Equal but for the order of sums: far less than a step of training moves."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=2e-5, msg=key)


@pytest.mark.slow
def test_two_processes_distil_what_one_distils(folders: Path, vit_weights: Path, tmp_path: Path) -> None:
    options = ["--data", str(folders / "images"), "--variant", "nano", "--teacher", "test_vit", "--epochs", "1"]
    options += ["--teacher-weights", str(vit_weights), "--discriminator", "test_vit", "--batch", "6", "--crop-px", "64"]
    options += ["--student-rate", "1e-4", "1e-5", "--loss-weights", "adaptive", "--workers", "0"]
    for processes in (1, 2):
        run(["distill", *options, "--out", str(tmp_path / str(processes))], processes=processes)
    first, second = (read_content(tmp_path / str(n) / "last.pt")["run"] for n in (1, 2))
    assert_equal_weights(first["student"], second["student"])
    assert_equal_weights(first["discriminator"], second["discriminator"])


@pytest.mark.slow
def test_two_processes_segment_what_one_segments(folders: Path, tmp_path: Path) -> None:
    """16 crops in batches of 5: the last batch holds one crop, so that one process has nothing to show."""
    options = ["--data", str(folders), "--variant", "nano", "--epochs", "1", "--batch", "5", "--crop-px", "32"]
    options += ["--backbone-rate", "1e-4", "1e-5", "--decoder-rate", "1e-4", "1e-5", "--loss", "0.4", "0.6", "0.5"]
    options += ["--workers", "0", "--average", "0.9"]
    for processes in (1, 2):
        run(["segment", *options, "--out", str(tmp_path / str(processes))], processes=processes)
    contents = [read_content(tmp_path / str(n) / "last.pt") for n in (1, 2)]
    assert_equal_weights(contents[0]["run"]["network"], contents[1]["run"]["network"])
    assert contents[0]["threshold"] == contents[1]["threshold"]
    metrics = [content["training"]["metrics"] for content in contents]
    for group, values in metrics[0].items():
        assert metrics[1][group] == pytest.approx(values, abs=0.01)


@pytest.mark.slow
def test_two_processes_learn_from_a_teacher_what_one_learns(folders: Path, tmp_path: Path) -> None:
    """The last batch holds one crop: the process that has nothing to show adds nothing to the teacher's part."""
    torch.manual_seed(5)
    teacher = Checkpoint(network_from_name("nano"), InputContract(), 0.5, TrainingRecord(), 64)
    write_checkpoint(tmp_path / "teacher.pt", teacher)
    options = ["--data", str(folders), "--variant", "nano", "--epochs", "1", "--batch", "5", "--crop-px", "32"]
    options += ["--teacher-ckpt", str(tmp_path / "teacher.pt"), "--temperature", "2", "--workers", "0"]
    options += ["--backbone-rate", "1e-4", "1e-5", "--decoder-rate", "1e-4", "1e-5", "--skip-report"]
    for processes in (1, 2):
        run(["segment", *options, "--out", str(tmp_path / str(processes))], processes=processes)
    contents = [read_content(tmp_path / str(n) / "last.pt")["run"]["network"] for n in (1, 2)]
    assert_equal_weights(*contents)


@pytest.mark.slow
def test_two_processes_compute_in_what_the_first_one_found_fastest(folders: Path, tmp_path: Path) -> None:
    options = ["--data", str(folders), "--variant", "nano", "--epochs", "1", "--batch", "4", "--crop-px", "32"]
    options += ["--backbone-rate", "1e-4", "1e-5", "--decoder-rate", "1e-4", "1e-5", "--workers", "0"]
    run(["segment", *options, "--out", str(tmp_path / "auto")], processes=2, memory_format="auto")
    found = read_content(tmp_path / "auto" / "last.pt")["run"]
    for memory_format in ("contiguous", "channels_last"):
        run(["segment", *options, "--out", str(tmp_path / memory_format)], processes=2, memory_format=memory_format)
    same = read_content(tmp_path / found["compute"]["memory_format"] / "last.pt")["run"]
    assert same["compute"] == found["compute"]
    assert all(torch.equal(value, same["network"][key]) for key, value in found["network"].items())
    (other,) = {"contiguous", "channels_last"} - {found["compute"]["memory_format"]}
    assert_equal_weights(read_content(tmp_path / other / "last.pt")["run"]["network"], found["network"])


def test_shares_of_a_batch_add_up_to_its_loss_and_gradient() -> None:
    """By hand, without processes: what `summed` promises of the gradient, for a loss that is no mean (Dice)."""
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(5, 1, 8, 8, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 2, (5, 8, 8), generator=generator, dtype=torch.uint8)
    labels[1, :4] = 255
    weights = LossWeights(0.4, 0.6, 0.5)
    segmentation_loss(logit, labels, weights).backward()
    whole, logit.grad = logit.grad, None
    shares = [slice(0, None, 2), slice(1, None, 2)]
    sums: list[Tensor] = []
    for rows in shares:
        segmentation_loss(logit.detach()[rows], labels[rows], weights, gather=lambda s: sums.append(s) or s)  # type: ignore[func-returns-value]
    everywhere = sums[0] + sums[1]
    for rows in shares:
        loss = segmentation_loss(
            logit[rows], labels[rows], weights, gather=lambda s: 2 * s + (everywhere - 2 * s).detach()
        )
        (loss / 2).backward()  # the mean over processes
    assert whole is not None
    torch.testing.assert_close(logit.grad, whole, rtol=1e-5, atol=1e-9)


def test_stochastic_depth_of_a_share_is_that_of_the_whole_batch() -> None:
    whole, part = DropPath(0.5).train(), DropPath(0.5).train()
    x = torch.ones(7, 3, 4)
    torch.manual_seed(1)
    expected = whole(x)
    for first in (0, 1):
        part.share = (7, slice(first, 7, 2))
        torch.manual_seed(1)
        assert torch.equal(part(x[first::2]), expected[first::2])
    assert 0 < float((expected == 0).float().mean()) < 1
