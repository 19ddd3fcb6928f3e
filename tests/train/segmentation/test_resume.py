"""Resuming: a run ends with the weights of one that was never cut, in the memory format that it was begun in."""

from __future__ import annotations

import dataclasses
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_checkpoint, read_content, weights_digest, write_content
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.loops.compute_choice import TORCH_FORMATS
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


class Interrupted(Exception):
    pass


def stop_in_second_epoch(label: str, done: int, total: int) -> None:
    if label.startswith("epoch 2/") and done == total:
        raise Interrupted


def cut(config: SegmentConfig, data: DataSet, out: Path) -> Path:
    """A run that ended in its second epoch; its last.pt."""
    with pytest.raises(Interrupted):
        segment(config, data, out, progress=stop_in_second_epoch)
    assert read_content(out / "last.pt")["run"]["epochs_done"] == 1
    return out / "last.pt"


def state_of(path: Path) -> dict[str, Tensor]:
    """All numbers that a run goes on from: weights, averages and moments."""
    run = read_content(path)["run"]
    state = {**run["network"], **{f"average {key}": value for key, value in run["average"].items()}}
    for number, moments in run["optimizer"]["state"].items():
        state |= {f"optimizer {number} {key}": value for key, value in moments.items()}
    return state


def assert_same_end(first: Path, second: Path) -> None:
    one, other = state_of(first / "last.pt"), state_of(second / "last.pt")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    digests = [weights_digest(read_checkpoint(run / "best.pt").student) for run in (first, second)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("variant", "memory_format"), [("nano", "contiguous"), ("unet-small", "channels_last")])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: SegmentConfig, data: DataSet, tmp_path: Path, variant: str, memory_format: str
) -> None:
    config = dataclasses.replace(config, variant=variant, memory_format=memory_format)
    segment(config, data, tmp_path / "whole")
    last = cut(config, data, tmp_path / "parts")
    segment(config, data, tmp_path / "parts", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    # The optimizer's moments lie as the kernels of the run do.
    moments = [one["exp_avg"] for one in read_content(last)["run"]["optimizer"]["state"].values()]
    kernels = [one for one in moments if one.ndim == 4 and min(one.shape[1:3]) > 1]
    assert kernels
    assert all(one.is_contiguous(memory_format=TORCH_FORMATS[memory_format]) for one in kernels)


def test_a_resumed_run_takes_the_recorded_choice_and_makes_no_trial(
    config: SegmentConfig, data: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the trial chose, the record is what counts: it is set to the other choice here."""
    caplog.set_level(logging.INFO)
    config = dataclasses.replace(config, variant="unet-small", memory_format="auto")
    last = cut(config, data, tmp_path / "run")
    assert sum(message.startswith("computing in ") for message in caplog.messages) == 1
    content = dict(read_content(last))
    chosen = content["run"]["compute"]
    assert content["compute"] == f"{chosen['memory_format']} fp32"
    assert read_checkpoint(tmp_path / "run" / "best.pt").compute == content["compute"]
    (other,) = {"contiguous", "channels_last"} - {chosen["memory_format"]}
    for choice in (chosen["memory_format"], other):
        caplog.clear()
        out = tmp_path / choice
        out.mkdir()
        content["run"]["compute"] = {**chosen, "memory_format": choice}
        write_content(out / "last.pt", content)
        segment(config, data, out, resume=True)
        assert not any(message.startswith("computing in ") for message in caplog.messages)
        assert read_content(out / "last.pt")["run"]["compute"]["memory_format"] == choice
    segment(dataclasses.replace(config, memory_format=chosen["memory_format"]), data, tmp_path / "said")
    assert_same_end(tmp_path / chosen["memory_format"], tmp_path / "said")
    assert any(
        not torch.equal(value, state_of(tmp_path / "said" / "last.pt")[key])
        for key, value in state_of(tmp_path / other / "last.pt").items()
    ), "the other format rounds in other places, unless it was not taken"


def test_a_run_from_before_there_were_memory_formats_is_resumed_as_it_was(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    segment(config, data, tmp_path / "whole")
    content = dict(read_content(cut(config, data, tmp_path / "old")))
    del content["compute"], content["run"]["compute"], content["run"]["settings"]["memory_format"]
    write_content(tmp_path / "old" / "last.pt", content)
    with pytest.raises(TrainingError, match="trained with memory_format contiguous, not channels_last"):
        segment(dataclasses.replace(config, memory_format="channels_last"), data, tmp_path / "old", resume=True)
    segment(dataclasses.replace(config, memory_format="auto"), data, tmp_path / "old", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "old")


@pytest.mark.slow
def test_a_killed_run_loses_at_most_the_epoch_that_it_was_in(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = f"segment --data {folders} --out {out} --variant nano --epochs 40 --crop-px 32 --batch 8 --workers 0"
    command = [sys.executable, "-m", "kda_edge.train", *arguments.split()]
    for round_number in range(2):
        extra = ["--resume"] if round_number else []
        process = subprocess.Popen([*command, *extra], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert process.stderr is not None
        epochs = []
        while len(epochs) < 2:
            line = process.stderr.readline()
            assert line, "the run ended by itself"
            if line.startswith("epoch "):
                epochs.append(int(line.split()[1].split("/")[0]))
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        done = read_content(out / "last.pt")["run"]["epochs_done"]
        assert done >= epochs[-1]
        assert read_checkpoint(out / "best.pt").student.variant == "nano"
    assert epochs[0] >= 3  # the second round went on and did not begin anew


def test_a_run_in_the_way_is_not_overwritten_and_other_settings_do_not_resume(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, epochs=1)
    segment(config, data, tmp_path / "run")
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match="go on with --resume, or choose another folder"):
        segment(config, data, tmp_path / "run")
    with pytest.raises(TrainingError, match="trained with seed 0, not 1; resume"):
        segment(dataclasses.replace(config, seed=1), data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    segment(dataclasses.replace(config, workers=1), data, tmp_path / "run", resume=True)  # decides no weight


def test_a_run_from_before_there_was_a_balance_of_classes_goes_on_without_one(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    last = cut(config, data, tmp_path / "run")
    content = dict(read_content(last))
    settings = content["run"]["settings"]
    del settings["landslide_share"], settings["loss"]["landslide_weight"]
    write_content(last, content)
    weighted = dataclasses.replace(config, loss=dataclasses.replace(config.loss, landslide_weight=2.0))
    with pytest.raises(TrainingError, match=r"was trained with loss\.landslide_weight 1\.0, not 2\.0"):
        segment(weighted, data, tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match=r"was trained with landslide_share None, not 0\.5"):
        segment(dataclasses.replace(config, landslide_share=0.5), data, tmp_path / "run", resume=True)
    segment(config, data, tmp_path / "run", resume=True)
    assert read_content(last)["run"]["epochs_done"] == 3
