"""Training: it learns, resumes to the same weights, survives being killed, and stops when it diverges."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_checkpoint, read_content, weights_digest, write_checkpoint, write_content
from kda_edge.train.cli.train import main
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataRequest, DataSet, load_data
from kda_edge.train.loops.run_state import WeightAverage
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.evaluate import evaluate
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

CONFIG = SegmentConfig(
    variant="nano",
    epochs=3,
    batch=8,
    crop_px=32,
    backbone_rate=(1e-3, 1e-5),
    decoder_rate=(1e-3, 1e-5),
    average=0.9,
    precision="fp32",
    device="cpu",
    workers=0,
)


@pytest.fixture
def data(folders: Path) -> DataSet:
    return load_data(DataRequest(folders, seed=0))


def _weights(path: Path) -> dict[str, Tensor]:
    run = read_content(path)["run"]
    return {**run["network"], **{f"average {key}": value for key, value in run["average"].items()}}


def test_a_student_learns_scars_that_it_never_saw(data: DataSet, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=12, augmentation=Augmentation(colour=0.1), clip_norm=1.0)
    best = segment(config, data, tmp_path / "run", command="kda-train segment")
    checkpoint = read_checkpoint(best)
    evaluation = evaluate(
        checkpoint.student, data.samples["test"], data.input, tile_px=32, overlap_px=8, device=torch.device("cpu")
    )
    assert evaluation.by_source()[0].counts_at(checkpoint.threshold).iou > 0.6
    record = checkpoint.training
    assert (record.command, record.seed, checkpoint.tile_px) == ("kda-train segment", 0, 32)
    assert record.data == tuple(data.groups("train"))
    assert set(record.held_out) == set(data.groups("val") + data.groups("test"))
    assert any(name.startswith("val scars") for name in record.metrics)
    assert any(path.name.startswith("events.out.tfevents") for path in (tmp_path / "run").iterdir())


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(data: DataSet, tmp_path: Path) -> None:
    segment(CONFIG, data, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop_in_second_epoch(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2/") and done == total:
            raise Interrupted

    with pytest.raises(Interrupted):
        segment(CONFIG, data, tmp_path / "parts", progress=stop_in_second_epoch)
    assert read_content(tmp_path / "parts" / "last.pt")["run"]["epochs_done"] == 1
    segment(CONFIG, data, tmp_path / "parts", resume=True)
    whole, parts = _weights(tmp_path / "whole" / "last.pt"), _weights(tmp_path / "parts" / "last.pt")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    best = [weights_digest(read_checkpoint(tmp_path / run / "best.pt").student) for run in ("whole", "parts")]
    assert best[0] == best[1]


def test_epochs_that_are_not_judged_learn_the_same_and_are_never_the_best(data: DataSet, tmp_path: Path) -> None:
    sparse = dataclasses.replace(CONFIG, evaluate_every=2)
    best = segment(sparse, data, tmp_path / "sparse")
    segment(CONFIG, data, tmp_path / "dense")
    sparse_run, dense_run = _weights(tmp_path / "sparse" / "last.pt"), _weights(tmp_path / "dense" / "last.pt")
    assert all(torch.equal(sparse_run[key], dense_run[key]) for key in dense_run)
    record = read_checkpoint(best).training
    assert record.epochs in (2, 3)  # every second, and the last
    assert record.metrics

    segment(dataclasses.replace(sparse, epochs=1), data, tmp_path / "one")
    assert read_checkpoint(tmp_path / "one" / "best.pt").training.metrics  # the last epoch is judged, however few


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


def test_a_run_in_the_way_is_not_overwritten_and_other_settings_do_not_resume(data: DataSet, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    segment(config, data, tmp_path / "run")
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match="go on with --resume, or choose another folder"):
        segment(config, data, tmp_path / "run")
    with pytest.raises(TrainingError, match="trained with another seed"):
        segment(dataclasses.replace(config, seed=1), data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    segment(dataclasses.replace(config, workers=1), data, tmp_path / "run", resume=True)  # decides no weight


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(data: DataSet, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, decoder_rate=(1e30, 1e30), backbone_rate=(1e30, 1e30))
    with pytest.raises(
        TrainingError, match=r"no longer finite in epoch 1 \(no epoch was finished\); lower the learning"
    ):
        segment(config, data, tmp_path / "at once")
    segment(dataclasses.replace(CONFIG, epochs=1), data, tmp_path / "run")
    good = read_content(tmp_path / "run" / "last.pt")
    good["run"]["network"]["decoder.head.bias"][0] = float("nan")  # what a bad step leaves behind
    good["run"]["settings"]["epochs"] = 2
    write_content(tmp_path / "run" / "last.pt", good)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"in epoch 2 \(.*last\.pt holds the state after epoch 1\)"):
        segment(dataclasses.replace(CONFIG, epochs=2), data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_nothing_to_train_on_is_said(data: DataSet, tmp_path: Path) -> None:
    empty = dataclasses.replace(data, samples={**data.samples, "train": ()})
    with pytest.raises(TrainingError, match="no samples are in the train split"):
        segment(CONFIG, empty, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_starts_from_a_given_student(data: DataSet, tmp_path: Path) -> None:
    first = segment(dataclasses.replace(CONFIG, epochs=1), data, tmp_path / "first")
    still = dataclasses.replace(
        CONFIG, epochs=1, init=str(first), backbone_rate=(0, 0), decoder_rate=(0, 0), weight_decay=0.0
    )
    taught = read_checkpoint(first)
    write_checkpoint(first, dataclasses.replace(taught, training=dataclasses.replace(taught.training, teacher="a CNN")))
    second = segment(still, data, tmp_path / "second")
    assert read_checkpoint(second).training.teacher == "a CNN"  # what the weights came from is not forgotten
    assert weights_digest(read_checkpoint(second).student) == weights_digest(read_checkpoint(first).student)
    with pytest.raises(TrainingError, match="holds 'nano', not 'tiny'"):
        segment(dataclasses.replace(still, variant="tiny"), data, tmp_path / "third")


def test_the_average_is_applied_for_a_while_and_taken_back() -> None:
    network = torch.nn.Linear(2, 2)
    average = WeightAverage(network, 0.5)
    first = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update(100)
    own = network.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(network.weight, first + 0.5)
    assert torch.equal(network.weight, own)


def test_the_average_takes_counters_as_they_are() -> None:
    network = torch.nn.BatchNorm2d(2).train()
    average = WeightAverage(network, 0.9)
    network(torch.randn(3, 2, 4, 4))
    average.update(100)
    assert int(average.average["num_batches_tracked"]) == 1
    expected = 0.9 * torch.zeros(2) + 0.1 * network.running_mean
    torch.testing.assert_close(average.average["running_mean"], expected)


def test_the_command_trains_evaluates_and_writes_what_it_measured(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["segment", "--data", str(folders), "--out", str(tmp_path / "run"), "--variant", "nano", "--epochs", "2"]
    assert main([*run, "--crop-px", "32", "--workers", "0", "--batch", "8"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "best.pt")
    result = tmp_path / "metrics.json"
    ckpt = str(tmp_path / "run" / "best.pt")
    judge = ["evaluate", "--ckpt", ckpt, "--data", str(folders), "--split", "test", "--json", str(result)]
    assert main([*judge, "--record"]) == 0
    assert "| group | IoU | precision | recall | F1 | mIoU | OA |" in capsys.readouterr().out
    content = json.loads(result.read_text())
    assert content["checkpoint_sha256"] == weights_digest(read_checkpoint(ckpt).student)
    assert sum(count for name, count in content["images"].items() if "/" in name) == 2
    assert content["pixels"]["scars"] > 0
    recorded = read_checkpoint(ckpt).training.metrics
    assert recorded["test scars"] == content["metrics"]["scars"]
    assert any(name.startswith("val ") for name in recorded)
    assert main(["evaluate", "--ckpt", ckpt, "--data", str(folders), "--threshold", "0.95", "--record"]) == 0
    assert read_checkpoint(ckpt).threshold == 0.95
    assert main([*judge, "--tune-threshold", "--record"]) == 0
    tuned = json.loads(result.read_text())
    assert read_checkpoint(ckpt).threshold == tuned["threshold"]
    assert tuned["metrics"]["scars"]["iou"] >= content["metrics"]["scars"]["iou"]
    assert main([*run, "--crop-px", "32"]) == 1  # a run is in the way
    assert "kda-train: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["segment", "--data", "none", "--out", "o"], 1, "no data file or folder"),
        (["segment", "--data", "{folders}", "--out", "o", "--crop-px", "50"], 2, "multiple of 32"),
        (["segment", "--data", "{folders}", "--out", "o", "--variant", "mini"], 2, "no network 'mini'"),
        (["segment", "--data", "{folders}", "--out", "o", "--device", "cuda:99"], 2, "CUDA"),
        (["segment", "--data", "{folders}", "--out", "o", "--pixel-type", "uint16"], 2, "needs --value-range"),
        (["evaluate", "--data", "{folders}", "--ckpt", "none.pt"], 1, "no checkpoint none.pt"),
    ],
)
def test_each_mistake_has_one_line_and_leaves_nothing(
    arguments: list[str],
    status: int,
    message: str,
    *,
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "cuda:99" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has CUDA devices")
    before = sorted(os.listdir(tmp_path))
    assert main([word.replace("{folders}", str(folders)) for word in arguments]) == status
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("kda-train: ")
    assert message in error
    assert sorted(os.listdir(tmp_path)) == before


def test_fine_tuning_takes_the_variant_of_the_student_that_it_starts_from(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = ["segment", "--data", str(folders), "--epochs", "1", "--crop-px", "32", "--workers", "0"]
    assert main([*run, "--variant", "nano", "--out", str(tmp_path / "fresh")]) == 0
    assert "a backbone with fresh weights learns little at a rate of 5e-06" in caplog.text
    caplog.clear()
    assert main([*run, "--init", str(tmp_path / "fresh" / "best.pt"), "--out", str(tmp_path / "tuned")]) == 0
    assert read_checkpoint(tmp_path / "tuned" / "best.pt").student.variant == "nano"
    assert "learns little" not in caplog.text


def test_statistics_are_those_of_the_training_pixels(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from kda_edge.train.data.crops import read_labelled

    data = load_data(DataRequest(folders, seed=0))
    pixels = np.concatenate(
        [read_labelled(s, data.input, s.window_ltrb)[0].reshape(-1, 3) for s in data.samples["train"]]
    ).astype(float)
    assert main(["statistics", "--data", str(folders)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[input]"
    assert json.loads(lines[1].split("=")[1]) == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-3)
    assert json.loads(lines[2].split("=")[1]) == pytest.approx(pixels.std(axis=0).tolist(), abs=1e-3)
