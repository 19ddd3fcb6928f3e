"""`kda-train check` says what a run would learn from; runs say it too, and stop before the first step."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from worlds import write_image

from kda_edge.train.cli import main

RUN = ["--variant", "nano", "--crop-px", "32", "--workers", "0", "--epochs", "1", "--batch", "8"]
RUN += ["--precision", "fp32", "--memory-format", "contiguous", "--skip-report"]

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def damage(folders: Path) -> None:
    """Put a TIFF in the place of an image, whole by its length and header and damaged in its pixels."""
    (folders / "images" / "s03.png").unlink()
    pixels = np.random.default_rng(0).integers(0, 255, (51, 61, 3), np.uint8)
    path = write_image(folders / "images" / "s03.tif", pixels, compress="deflate")
    content = bytearray(path.read_bytes())
    content[4000:4100] = bytes(100)
    path.write_bytes(bytes(content))


def test_check_prints_a_row_a_split_and_writes_all_as_json(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "report.json"
    assert main(["check", "--data", str(folders), "--json", str(result)]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[:4] for line in printed.splitlines()[1:4]] == [
        ["train", "scars", "16", "16"],
        ["val", "scars", "2", "2"],
        ["test", "scars", "2", "2"],
    ]
    content = json.loads(result.read_text())
    assert content["command"].startswith("kda-train check --data")
    assert [part["images"] for part in content["parts"]] == [16, 2, 2]
    assert (content["errors"], content["orphan_masks"]) == ([], [])
    assert main(["check", "--data", str(folders), "--json", str(result)]) == 0
    assert capsys.readouterr().out == printed
    again = json.loads(result.read_text())
    assert again == content


def test_check_lists_every_error_and_ends_with_exit_code_1(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folders)
    for path in (folders / "masks").iterdir():
        number = int(path.stem[1:])
        write_image(path, np.zeros((48 + number, 64 - number), np.uint8))
    assert main(["check", "--data", str(folders)]) == 1
    printed = capsys.readouterr()
    assert sum(line.startswith("error: ") for line in printed.out.splitlines()) >= 2
    assert "s03.tif is damaged" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("kda-train: ")


@pytest.mark.parametrize("command", ["segment", "fit"])
def test_a_damaged_image_stops_a_run_before_its_first_step(
    command: str, folders: Path, vit_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folders)
    words = RUN if command == "segment" else ["--teacher", "test_vit", "--teacher-weights", str(vit_weights)]
    words = [*words, *([] if command == "segment" else ["--method", "kd", "--variant", "nano"])]
    assert main([command, "--data", str(folders), "--out", str(tmp_path / "run"), *words]) == 1
    assert "s03.tif is damaged" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_begins_with_the_report_and_leaves_it_out_when_told(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "a"), *RUN]) == 0
    assert any(line.startswith("train  scars") for line in caplog.messages)
    caplog.clear()
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "b"), "--skip-check", *RUN]) == 0
    assert not any(line.startswith("train  scars") for line in caplog.messages)


def test_without_val_images_a_run_is_begun_on_request_alone(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in [*(folders / "images").iterdir(), *(folders / "masks").iterdir()]:
        if int(path.stem[1:]) >= 5:
            path.unlink()
    words = ["segment", "--data", str(folders), "--out", str(tmp_path / "run"), *RUN]
    assert main(words) == 1
    assert "no images are in the val split (5 in all)" in capsys.readouterr().err
    assert main([*words, "--skip-check"]) == 0


def test_sixteen_bit_imagery_is_checked_before_its_statistics_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        write_image(tmp_path / "d" / "images" / f"{i}.tif", rng.integers(100, 3000, (40, 40, 3), np.uint16))
        write_image(tmp_path / "d" / "masks" / f"{i}.tif", np.eye(40, dtype=np.uint8))
    declared = ["--pixel-type", "uint16", "--value-range", "0", "4000"]
    assert main(["check", "--data", str(tmp_path / "d"), *declared]) == 0
    assert "uint16, 3 bands" in capsys.readouterr().out


def test_a_batch_or_crop_of_nothing_is_wrong_usage(folders: Path) -> None:
    assert main(["check", "--data", str(folders), "--batch", "0"]) == 2
    assert main(["check", "--data", str(folders), "--crop-px", "-32"]) == 2
