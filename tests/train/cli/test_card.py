"""`kda-train pack` and `kda-train card`: from folders to a student that says what it learned from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.train.cli.train import main
from kda_edge.train.on_card.packed_set import read_packed_set

SMALL = "test_efficientnet+fpn"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with train/, val/ and test/: green ground with brown discs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for number in range(count):
            image = np.full((80, 96, 3), (50, 110, 60), np.uint8)
            mask = np.zeros((80, 96), np.uint8)
            centre = tuple(int(x) for x in rng.integers(20, 60, 2))
            cv2.circle(image, centre, 14, (80, 110, 150), -1)
            cv2.circle(mask, centre, 14, 255, -1)
            cv2.imwrite(str(tmp_path / "data" / split / "images" / f"{split}{number}.png"), image)
            cv2.imwrite(str(tmp_path / "data" / split / "masks" / f"{split}{number}.png"), mask)
    return tmp_path / "data"


def pack(data: Path, *words: str) -> Path:
    packed = data.parent / "set.zip"
    assert main(["pack", "--data", str(data), "--out", str(packed), *words]) == 0
    return packed


def on_card(packed: Path, *words: str) -> int:
    out = ["--set", str(packed), "--out", str(packed.parent / "run"), "--device", "cpu", "--crop-px", "64"]
    return main(["card", *out, "--batch", "4", "--steps", "2", "--teacher-s", "60", "--student-s", "60", *words])


def test_a_set_holds_what_training_reads(data: Path) -> None:
    (found := data.parent / "more").mkdir()
    cv2.imwrite(str(found / "bare.png"), np.full((64, 64, 3), 90, np.uint8))
    images = list(read_packed_set(pack(data, "--unlabelled", str(found))))
    assert [one.facts.split for one in images] == ["train"] * 4 + ["val"] * 2 + ["test", "train"]
    for one in images[:-1]:
        folder = data / one.facts.split
        bgr = cv2.imread(str(folder / "images" / f"{one.facts.name}.png"))
        mask = cv2.imread(str(folder / "masks" / f"{one.facts.name}.png"), cv2.IMREAD_GRAYSCALE)
        assert bgr is not None
        assert mask is not None
        assert np.array_equal(one.rgb[:, :, ::-1], bgr)
        assert np.array_equal(one.labels, mask // 255)
    assert set(images[-1].labels.ravel()) == {255}


def test_halved_sources_and_lossy_sets_are_smaller(data: Path) -> None:
    whole = pack(data).stat().st_size
    halved = pack(data, "--halve", "data", "--quality", "70")
    assert halved.stat().st_size < whole
    assert {one.labels.shape for one in read_packed_set(halved)} == {(40, 48)}


def test_a_run_keeps_teachers_and_students_that_say_what_they_learned_from(data: Path) -> None:
    weights = data.parent / "weights"
    weights.mkdir()
    torch.manual_seed(3)
    timm_state = __import__("timm").create_model("test_efficientnet").state_dict()
    torch.save(timm_state, weights / "test_efficientnet.pt")
    chosen = ["--teachers", SMALL, "--students", SMALL, "--weights", str(weights), "--judge-on", "val", "test"]
    assert on_card(pack(data), *chosen, "--gsd", "0.5", "2") == 0
    run = data.parent / "run"
    assert sorted(one.name for one in run.iterdir()) == [
        "judged_student_test_efficientnet_fpn.json",
        "judged_teacher_test_efficientnet_fpn.json",
        "judged_teachers_test_efficientnet_fpn.json",
        "student_test_efficientnet_fpn.pt",
        "teacher_test_efficientnet_fpn.pt",
    ]
    checkpoint = read_checkpoint(run / "student_test_efficientnet_fpn.pt")
    judged = json.loads((run / "judged_student_test_efficientnet_fpn.json").read_text())
    assert checkpoint.threshold == pytest.approx(judged["threshold"])
    assert checkpoint.input.gsd_m == (0.5, 2.0)
    assert checkpoint.training.data == ("data/train",)
    assert checkpoint.training.held_out == ("data/test", "data/val")
    assert checkpoint.training.teacher == SMALL
    assert checkpoint.training.command.startswith("kda-train card --set ")
    assert checkpoint.training.metrics["data/val"] == judged["metrics"]["data/val"]
    # Two steps at the lowest rates move the encoder little: it began from the file.
    first = next(iter(checkpoint.student.encoder.state_dict().values()))
    assert torch.allclose(first, timm_state["conv_stem.weight"], atol=1e-2)


@pytest.mark.parametrize("command", ["card", "segment"])
def test_the_terms_of_the_imagery_go_into_the_record(command: str, data: Path) -> None:
    file = data.parent / "data.toml"
    said = '[[source]]\nname = "a"\nroot = "data/train"\nlicence = "CC BY-NC 4.0"\nfractions = [1.0, 0.0, 0.0]\n'
    said += '[[source]]\nname = "b"\nroot = "data/val"\nfractions = [1.0, 0.0, 0.0]\n'
    file.write_text(
        said + '[[source]]\nname = "c"\nroot = "data/test"\nlicence = "none"\nfractions = [0.0, 1.0, 0.0]\n'
    )
    if command == "card":
        assert on_card(pack(file), "--teachers", "--students", SMALL) == 0
        path = data.parent / "run" / "student_test_efficientnet_fpn.pt"
    else:
        words = ["--data", str(file), "--variant", "nano", "--epochs", "1", "--batch", "6", "--crop-px", "64"]
        words += ["--device", "cpu", "--workers", "0", "--skip-check", "--skip-report", "--precision", "fp32"]
        assert main(["segment", *words, "--memory-format", "contiguous", "--out", str(data.parent / "run")]) == 0
        path = data.parent / "run" / "best.pt"
    assert read_checkpoint(path).training.licences == {"a": "CC BY-NC 4.0"}


def test_a_student_goes_on_from_a_checkpoint(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed = pack(data)
    assert on_card(packed, "--teachers", "--students", SMALL, "--weights", str(data)) == 0
    fresh_line = f"{SMALL}: its encoder begins fresh; for other weights put its file into --weights"
    assert caplog.messages.count(fresh_line) == 1
    caplog.clear()
    first = packed.parent / "first.pt"
    (packed.parent / "run" / "student_test_efficientnet_fpn.pt").rename(first)
    assert on_card(packed, "--teachers", "--students", str(first), "--threshold", "0.3") == 0
    assert fresh_line not in caplog.messages
    second = read_checkpoint(packed.parent / "run" / "student_test_efficientnet_fpn.pt")
    assert second.threshold == 0.3
    assert second.training.teacher == ""
    fresh = network_from_name(SMALL).state_dict()
    for key, value in read_checkpoint(first).student.state_dict().items():
        if key.endswith("weight") and value.ndim == 4:
            near = (second.student.state_dict()[key] - value).abs().mean()
            assert near < (fresh[key] - value).abs().mean() / 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learn-from", "test", "--set", "no.zip"], "there is no packed set no.zip; make one with: kda-train pack"),
        (["--students", "no_such+fpn"], "there is no network 'no_such+fpn'"),
        (["--students", "test_efficientnet+no"], "there is no head 'no'"),
        (["--crop-px", "50"], "--crop-px must be a multiple of 32, not 50"),
        (["--scale", "2", "1"], "--scale must be two magnifications above 0"),
        (["--threshold", "1.5"], "--threshold must lie between 0 and 1, not 1.5"),
        (["--weights", "nowhere"], "--weights nowhere is no folder; check the path"),
        (["--batch", "0"], "must be above 0"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_card(pack(data), "--teachers", "--students", SMALL, *words) != 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("kda-train: ")]
    assert said in line
    assert not (data.parent / "run" / "student_test_efficientnet_fpn.pt").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quality", "0"], "--quality must lie between 1 and 101, not 0"),
        (["--halve", "other"], "--halve other is no source; choose among data"),
        (["--pixel-type", "uint16", "--value-range", "0", "9"], "uint16"),
    ],
)
def test_what_can_not_be_packed_is_said_and_leaves_no_file(
    words: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "--data", str(data), "--out", str(data.parent / "set.zip"), *words]) != 0
    assert said in capsys.readouterr().err
    assert not (data.parent / "set.zip").exists()
