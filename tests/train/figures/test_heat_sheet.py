"""The explain command: its figures are those of the models step by step, and bad input is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from untrained_students import UINT16, write_student
from worlds import scar, write_image

from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.networks.student import Student
from kda_edge.train.cli.train import main
from kda_edge.train.figures.heatmaps import upsampled
from kda_edge.train.loops.backbone_files import Backbone, write_backbone


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of 61 x 93 px with its mask, students, a backbone, a ViT and a ConvNeXt; made once."""
    timm = pytest.importorskip("timm", reason="teachers come from timm")
    root = tmp_path_factory.mktemp("things")
    image, mask = scar(np.random.default_rng(3), 61, 93)
    write_image(root / "image.png", image)
    write_image(root / "mask.png", mask * 255)
    write_image(root / "empty.png", mask * 0)
    write_image(root / "small.png", mask[:-1])
    write_image(root / "sixteen.tif", image.astype(np.uint16))
    (root / "foreign.pt").write_bytes(b"no model")
    torch.save({"weight": torch.zeros(2)}, root / "other.pt")
    write_student(root / "a.pt", threshold=0.001)
    write_student(root / "never.pt", threshold=0.999)
    write_student(root / "sixteen.pt", contract=UINT16)
    torch.manual_seed(0)
    encoder = Student("nano").encoder
    write_backbone(root / "b.pt", Backbone("nano", encoder.state_dict(), InputContract(), "from nothing"))
    for name in ("test_vit", "test_convnext"):
        torch.save(timm.create_model(name, pretrained=False).state_dict(), root / f"{name}.pth")
    return root


@pytest.fixture
def world(things: Path, tmp_path: Path) -> Path:
    """A folder of its own with those things."""
    for path in things.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def _explain(world: Path, *words: str, models: tuple[str, ...] = ("a",), place: tuple[str, ...] | None = None) -> int:
    """Run the command; words that name a file of the world are its path."""
    place = ("--mask", "mask.png") if place is None else place
    named = [word for name in models for word in ("--model", f"{name}={world / f'{name}.pt'}")]
    given = ["--image", "image.png", *place, *words]
    paths = [str(world / word) if (world / word).is_file() or "missing" in word else word for word in given]
    output = [] if "--out" in words else ["--out", str(world / "figure.png")]
    return main(["explain", *paths, *named, *output, "--json", str(world / "figure.json"), "--device", "cpu"])


def _figures(world: Path) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = json.loads((world / "figure.json").read_text())["models"]
    return models


def _bilinear(grid: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Between the centres of cells, those at the border repeated beyond it."""
    result = np.zeros(size_hw)
    for i, j in np.ndindex(*size_hw):
        y = min(max((i + 0.5) * grid.shape[0] / size_hw[0] - 0.5, 0), grid.shape[0] - 1)
        x = min(max((j + 0.5) * grid.shape[1] / size_hw[1] - 0.5, 0), grid.shape[1] - 1)
        r, c = min(int(y), grid.shape[0] - 2), min(int(x), grid.shape[1] - 2)
        rows = np.array([1 - (y - r), y - r])
        result[i, j] = rows @ grid[r : r + 2, c : c + 2] @ np.array([1 - (x - c), x - c])
    return result


def test_the_figures_of_a_student_are_those_of_its_stage_4_step_by_step(tmp_path: Path) -> None:
    raw, mask = scar(np.random.default_rng(5), 64, 96)  # sides that the student takes as they are
    write_image(tmp_path / "image.png", raw)
    write_image(tmp_path / "mask.png", mask)
    student = read_checkpoint(write_student(tmp_path / "a.pt")).student
    assert _explain(tmp_path) == 0
    contract = InputContract()
    normalised = (raw.astype(np.float32) - np.array(contract.mean)) / np.array(contract.std)
    with torch.no_grad():
        maps = student.encoder(torch.from_numpy(normalised.transpose(2, 0, 1)[None]).float())
    features = maps[3][0].double().numpy()
    assert features.shape == (256, 2, 3)
    weights = mask.reshape(2, 32, 3, 32).mean(axis=(1, 3))
    (found,) = _figures(tmp_path)
    for kind, one in (("raw", features), ("centred", features - features.mean(axis=(1, 2), keepdims=True))):
        reference = (one * weights).sum(axis=(1, 2)) / weights.sum()
        cosine = (one * reference[:, None, None]).sum(0) / (np.linalg.norm(one, axis=0) * np.linalg.norm(reference))
        large = _bilinear(cosine, (64, 96))
        inside, outside = large[mask == 1].mean(), large[mask == 0].mean()
        assert found["separation"][kind]["inside"] == pytest.approx(inside, abs=1e-4)
        assert found["separation"][kind]["outside"] == pytest.approx(outside, abs=1e-4)
        assert found["separation"][kind]["difference"] == pytest.approx(inside - outside, abs=1e-4)
        assert np.allclose(upsampled(torch.from_numpy(cosine), (64, 96)), large, atol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "size", "grid"), [("test_vit", [64, 96], [4, 6]), ("test_convnext", [64, 96], [2, 3])]
)
def test_teacher_backbone_and_checkpoint_stand_side_by_side(
    world: Path, teacher: str, size: list[int], grid: list[int]
) -> None:
    words = ("--teacher", teacher, "--teacher-weights", f"{teacher}.pth")
    assert _explain(world, *words, models=("b", "a")) == 0
    shown, backbone, checkpoint = _figures(world)
    assert (shown["name"], shown["kind"]) == (f"teacher: {teacher}", "teacher")
    assert (shown["input_hw_px"], shown["grid_hw"]) == (size, grid)
    assert (backbone["kind"], checkpoint["kind"]) == ("backbone", "checkpoint")
    assert backbone["separation"] == checkpoint["separation"]  # they were made with the same weights
    assert backbone["grid_hw"] == [2, 3]
    for one in (shown, checkpoint):
        assert -1 <= one["lowest"] <= one["separation"]["raw"]["inside"] <= one["highest"] <= 1
        assert 0 <= one["separation"]["raw"]["auc"] <= 1
    figure = cv2.imread(str(world / "figure.png"))
    assert figure.shape[1] > 4 * 320
    first = (world / "figure.png").read_bytes()
    assert _explain(world, *words, "--centred", models=("b", "a")) == 0
    assert (world / "figure.png").read_bytes() != first
    assert list(_figures(world)[0]["separation"]) == ["centred", "raw"]
    assert not list(world.glob(".*"))


def test_each_model_normalises_the_image_as_it_was_trained(world: Path) -> None:
    write_student(world / "dark.pt", contract=InputContract(mean=(90.0, 90.0, 90.0)))
    write_student(world / "flat.pt", contract=InputContract(std=(90.0, 90.0, 90.0)))
    write_student(world / "same.pt")
    assert _explain(world, models=("a", "same", "dark", "flat")) == 0
    a, same, *others = (one["separation"]["raw"] for one in _figures(world))
    assert a == same
    assert all(a["inside"] != pytest.approx(other["inside"], abs=1e-6) for other in others)


def test_sixteen_bit_imagery_is_explained_with_models_of_its_kind(world: Path) -> None:
    assert _explain(world, "--image", "sixteen.tif", models=("sixteen",)) == 0


def test_a_pixel_is_most_like_itself(world: Path) -> None:
    assert _explain(world, place=("--at", "46", "30")) == 0
    (found,) = _figures(world)
    assert found["separation"] == {}
    assert 0.5 < found["highest"] <= 1


@pytest.mark.parametrize("place", [("--mask", "mask.png"), ("--at", "46", "30"), ()])
@pytest.mark.parametrize("stage", [1, 4])
def test_grad_cam_leaves_out_who_maps_nothing(world: Path, place: tuple[str, ...], stage: int) -> None:
    assert _explain(world, "--by", "gradcam", "--stage", str(stage), models=("b", "a"), place=place) == 0
    (found,) = _figures(world)
    assert found["name"] == "a"
    assert found["grid_hw"] == [64 // 2 ** (stage + 1), 96 // 2 ** (stage + 1)]
    assert found["lowest"] >= 0
    assert found["highest"] <= 1
    assert list(found["separation"]) == (["gradcam"] if "--mask" in place else [])


@pytest.mark.parametrize(
    ("words", "models", "place", "status", "message"),
    [
        (("--image", "missing.png"), ("a",), None, 1, "there is no file"),
        ((), ("a",), ("--mask", "missing.png"), 1, "there is no file"),
        ((), ("a",), ("--mask", "small.png"), 1, "they must be equal"),
        ((), ("a",), ("--mask", "empty.png"), 1, "holds no landslide"),
        ((), ("a",), ("--mask", "image.png"), 1, "is coloured"),
        ((), ("a",), ("--at", "93", "0"), 2, "columns are 0 to 92 and rows 0 to 60"),
        ((), ("a",), ("--at", "-1", "0"), 2, "lies outside"),
        ((), ("a",), (), 2, "similarity to what?"),
        ((), ("foreign",), None, 1, "not a checkpoint"),
        ((), ("other",), None, 1, "neither a distilled backbone nor a checkpoint"),
        ((), ("missing",), None, 1, "there is no checkpoint"),
        ((), ("a", "a"), None, 2, "two models are called 'a'"),
        ((), ("a", "sixteen"), None, 2, "compare models of the same imagery"),
        (("--model", "a.pt"), ("b",), None, 2, "must be NAME=FILE"),
        (("--image", "sixteen.tif"), ("a",), None, 1, "is uint16 and the models were trained on uint8"),
        (("--bands", "1", "2", "4"), ("a",), None, 1, "has 3 bands"),
        (("--by", "gradcam"), ("b",), None, 2, "Grad-CAM needs a checkpoint"),
        (("--by", "gradcam"), ("never",), (), 2, "never finds no landslide"),
        (("--window-px", "64"), ("a",), (), 2, "similarity to what?"),
        (("--by", "gradcam", "--window-px", "64"), ("a",), (), 2, "larger than 64 px"),
        (("--stage", "2"), ("a",), None, 2, "--stage is for --by gradcam"),
        (("--range", "1", "0"), ("a",), None, 2, "LOW below HIGH"),
        (("--teacher", "test_vit", "--teacher-weights", "missing.pth"), ("a",), None, 1, "there is no weights file"),
        (("--teacher", "test_vit", "--teacher-weights", "test_convnext.pth"), ("a",), None, 1, "does not hold"),
        (("--out", "figure.jpg"), ("a",), None, 2, "must end in .png"),
        (("--out", "nowhere/figure.png"), ("a",), None, 2, "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    world: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    models: tuple[str, ...],
    place: tuple[str, ...] | None,
    status: int,
    message: str,
) -> None:
    assert _explain(world, *words, models=models, place=place) == status
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("kda-train: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert error.endswith(lines[0] + "\n")
    assert not (world / "figure.png").exists()
    assert not (world / "figure.json").exists()
