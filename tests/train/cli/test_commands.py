"""The commands of phase 2: they train, judge and measure as they are told, and say each mistake in a line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
from kda_edge.train.cli.train import main
from kda_edge.train.data.crops import read_labelled
from kda_edge.train.data.data_file import DataRequest, load_data

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

NO_TRIAL = ["--precision", "fp32", "--memory-format", "contiguous", "--skip-report"]


def test_the_command_trains_evaluates_and_writes_what_it_measured(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["segment", "--data", str(folders), "--out", str(tmp_path / "run"), "--variant", "nano", "--epochs", "2"]
    run += NO_TRIAL
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
    assert main([*judge, "--tile-px", "0"]) == 2  # which is no tile, and not the checkpoint's
    assert main([*run, "--crop-px", "32"]) == 1  # a run is in the way
    assert "kda-train: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["segment", "--data", "none", "--out", "o"], 1, "no data file or folder"),
        (["segment", "--data", "{folders}", "--out", "o", "--crop-px", "50"], 2, "multiple of 32"),
        (["segment", "--data", "{folders}", "--out", "o", "--finish-px", "0"], 2, "finish_px must be a multiple of 32"),
        (["segment", "--data", "{folders}", "--out", "o", "--variant", "mini"], 2, "no network 'mini'"),
        (["segment", "--data", "{folders}", "--out", "o", "--device", "cuda:99"], 2, "CUDA"),
        (["segment", "--data", "{folders}", "--out", "o", "--pixel-type", "uint16"], 2, "needs --value-range"),
        (["segment", "--data", "{folders}", "--out", "o", "--backbone-rate", "nan", "1"], 2, "backbone_rate must be"),
        (["segment", "--data", "{folders}", "--out", "o", "--scale", "2", "1"], 2, "the lower one first, not 2 1"),
        (["segment", "--data", "{folders}", "--out", "o", "--colour", "nan"], 2, "between 0 and 1, not nan"),
        (["segment", "--data", "none", "--out", "o", "--variant", "mini"], 2, "no network 'mini'"),
        (["segment", "--data", "none", "--out", "o", "--variant", "nano+dcff"], 2, "no head 'dcff'"),
        (["distill", "--data", "none", "--out", "o", "--variant", "mini"], 2, "no student 'mini'"),
        (["segment", "--data", "none", "--out", "{folders}/images/s00.png"], 1, "is a file, and --out takes a folder"),
        (["distill", "--data", "none", "--out", "{folders}/images/s00.png"], 1, "is a file, and --out takes a folder"),
        (["distill", "--data", "none", "--out", "o", "--cache", "/proc/x"], 1, "/proc/x can't be written to"),
        (["segment", "--data", "none", "--out", "/proc/run/1"], 1, "/proc/run/1 can't be written to (No such file"),
        (["segment", "--data", "{folders}/images/s00.png", "--out", "o"], 1, "is an image; labelled data is a folder"),
        (["evaluate", "--data", "{folders}", "--ckpt", "none.pt"], 1, "no checkpoint none.pt"),
        (["evaluate", "--data", "none", "--ckpt", "none.pt", "--threshold", "nan"], 2, "--threshold must lie between"),
        (["evaluate", "--data", "none", "--ckpt", "none.pt", "--json", "no/m.json"], 1, "there is no folder no for"),
        (["evaluate", "--data", "none", "--ckpt", "none.pt", "--json", "/proc/m.json"], 1, "/proc/m.json can't be"),
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
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "cuda:99" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has CUDA devices")
    before = sorted(os.listdir(tmp_path))
    assert main([word.replace("{folders}", str(folders)) for word in arguments]) == status
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("kda-train: ")
    assert not caplog.text, "no advice about a run that can't begin"
    assert message in error
    assert sorted(os.listdir(tmp_path)) == before


def test_fine_tuning_takes_the_variant_of_the_student_that_it_starts_from(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = ["segment", "--data", str(folders), "--epochs", "1", "--crop-px", "32", "--workers", "0", *NO_TRIAL]
    assert main([*run, "--variant", "nano", "--out", str(tmp_path / "fresh")]) == 0
    assert "a backbone with fresh weights learns little at a rate of 5e-06" in caplog.text
    caplog.clear()
    assert main([*run, "--init", str(tmp_path / "fresh" / "best.pt"), "--out", str(tmp_path / "tuned")]) == 0
    assert read_checkpoint(tmp_path / "tuned" / "best.pt").student.variant == "nano"
    assert "learns little" not in caplog.text


def test_statistics_are_those_of_the_training_pixels(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_data(DataRequest(folders, seed=0))
    pixels = np.concatenate(
        [read_labelled(s, data.input, s.window_ltrb)[0].reshape(-1, 3) for s in data.samples["train"]]
    ).astype(float)
    assert main(["statistics", "--data", str(folders)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[input]"
    assert json.loads(lines[1].split("=")[1]) == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-3)
    assert json.loads(lines[2].split("=")[1]) == pytest.approx(pixels.std(axis=0).tolist(), abs=1e-3)
