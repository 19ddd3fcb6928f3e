"""The masks command: what it shows and counts is what evaluation finds, pixel by pixel."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from untrained_students import UINT16, write_student
from worlds import scar

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint
from kda_edge.tiling.predict import predict_array
from kda_edge.train.cli.train import main
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.labels import BACKGROUND, IGNORED, LANDSLIDE
from kda_edge.train.figures import colouring
from kda_edge.train.figures.mask_sheet import counts_of, distinct_names, judge, model_from_checkpoint, outcomes_of
from kda_edge.train.segmentation.evaluate import engine_from_student, evaluate

CPU = torch.device("cpu")


def test_each_pixel_has_the_outcome_that_its_mask_and_probability_say() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([BACKGROUND, LANDSLIDE, IGNORED], np.uint8), (20, 30))
    probability = rng.choice(np.array([0.1, 0.36, 0.4, np.nan], np.float32), (20, 30))
    failed = rng.random((20, 30)) < 0.1
    outcomes = outcomes_of(labels, probability, 0.36, failed)
    picture = colouring.coloured_outcomes(outcomes, (20, 30))
    names = {(False, False): "tn", (True, True): "tp", (True, False): "fp", (False, True): "fn"}
    shown = {(255, 255, 255): "tp", (213, 94, 0): "fp", (86, 180, 233): "fn", (0, 0, 0): "tn"}
    counted = dict.fromkeys(names.values(), 0)
    for i, j in np.ndindex(20, 30):
        if labels[i, j] == IGNORED or np.isnan(probability[i, j]) or failed[i, j]:
            assert tuple(picture[i, j]) in {(150, 150, 150), (100, 100, 100)}
            continue
        name = names[bool(probability[i, j] >= np.float32(0.36)), bool(labels[i, j] == LANDSLIDE)]
        counted[name] += 1
        assert shown[tuple(int(c) for c in picture[i, j])] == name
    assert dataclasses.asdict(counts_of(outcomes)) == counted


@pytest.mark.parametrize(("own", "shown"), [((3, 5), (30, 41)), ((50, 60), (7, 9)), ((4, 4), (4, 4))])
def test_a_code_is_shown_where_it_lies(own: tuple[int, int], shown: tuple[int, int]) -> None:
    codes = np.random.default_rng(0).integers(0, 99, own)
    found = colouring.nearest(codes, shown)
    for i, j in np.ndindex(*shown):
        assert found[i, j] == codes[int((i + 0.5) * own[0] / shown[0]), int((j + 0.5) * own[1] / shown[1])]


def test_a_window_of_a_scene_is_judged_as_evaluate_judges_the_whole(scene: Path, tmp_path: Path) -> None:
    data = load_data(DataRequest(scene, seed=0))
    (sample,) = [s for split in data.samples.values() for s in split]
    sample = dataclasses.replace(sample, window_ltrb=(10, 5, 192, 150))
    network = read_checkpoint(write_student(tmp_path / "a.pt")).student
    engine = engine_from_student(network, InputContract(), CPU)
    raw = scar(np.random.default_rng(1), 160, 192)[0]
    middle = float(np.median(engine(raw[None, 32:96, 64:128].transpose(0, 3, 1, 2).astype(np.float32))))
    threshold = round(middle, 3)
    checkpoint = Checkpoint(network, InputContract(), threshold, TrainingRecord(), 64)
    model = model_from_checkpoint("a", tmp_path / "a.pt", checkpoint, data.input)
    window = (60, 40, 124, 104)
    judged = judge(model, sample, data.input, window, CPU)
    evaluation = evaluate(network, [sample], data.input, tile_px=64, overlap_px=16, device=CPU)
    (counts,) = evaluation.counts(threshold).values()
    assert judged.whole == counts
    assert min(counts.tp, counts.fp, counts.fn, counts.tn) > 0
    assert judged.outcomes.shape == (64, 64)
    assert judged.shown == counts_of(judged.outcomes)
    assert judged.shown.pixels == 64 * 64
    image = np.maximum(raw, 1)
    image[:, :40] = 0
    part = image[5:150, 10:192]
    probability, _ = predict_array(part, (part != 0).any(axis=2), engine, 64, 16)
    claimed = np.isin(judged.outcomes, (colouring.FOUND, colouring.FALSE_ALARM))
    assert (claimed == (probability[35:99, 50:114] >= np.float32(threshold))).all()


def test_names_are_the_shortest_ends_of_the_paths_that_differ() -> None:
    assert distinct_names([Path("a/kd.pt"), Path("a/kda.pt")]) == ["kd", "kda"]
    assert distinct_names([Path("r/kd/segment/best.pt"), Path("r/kda/segment/best.pt")]) == [
        "kd/segment/best",
        "kda/segment/best",
    ]
    with pytest.raises(UsageError, match="same file"):
        distinct_names([Path("a.pt"), Path("./a.pt")])


# --- the command


def _masks(folders: Path, *words: str) -> int:
    out = folders.parent
    fixed = ["--out", str(out / "masks.png"), "--json", str(out / "masks.json"), "--device", "cpu"]
    return main(["masks", "--data", str(folders), *words, *fixed])


def test_masks_are_compared_on_images_that_chance_chose(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = [str(write_student(tmp_path / name, seed)) for seed, name in enumerate(("kd.pt", "kda.pt"))]
    words = ["--ckpt", checkpoints[0], "--ckpt", checkpoints[1], "--split", "train", "--count", "2"]
    assert _masks(folders, *words) == 0
    content = json.loads((tmp_path / "masks.json").read_text())
    assert list(content["checkpoints"]) == ["kd", "kda"]
    assert content["drawn_at_random"] is True
    assert len(content["images"]) == 2
    data = load_data(DataRequest(folders, seed=0))
    for image in content["images"]:
        (sample,) = [s for s in data.samples["train"] if s.image.stem == image["image"]]
        for name, path in zip(("kd", "kda"), checkpoints, strict=True):
            network = read_checkpoint(path).student
            evaluation = evaluate(network, [sample], data.input, tile_px=64, overlap_px=16, device=CPU)
            (counts,) = evaluation.counts(0.5).values()
            assert image["models"][name]["whole"] == image["models"][name]["shown"] == counts.as_dict()
    first = (tmp_path / "masks.png").read_bytes()
    assert _masks(folders, *words) == 0
    assert (tmp_path / "masks.png").read_bytes() == first
    assert _masks(folders, *words, "--draw-seed", "1") == 0
    assert json.loads((tmp_path / "masks.json").read_text())["images"] != content["images"]
    with pytest.raises(SystemExit):
        main(["masks", "--help"])
    assert "at random" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--images", "nobody"], 2, "there is no image 'nobody'"),
        (["--name", "a", "--name", "b"], 2, "give a --name for each --ckpt, 1, not 2"),
        (["--count", "0"], 2, "--count must be 1 or more"),
        (["--ckpt", "missing.pt"], 1, "there is no checkpoint"),
        (["--panel-px", "1"], 2, "between 32 and 4096"),
    ],
)
def test_masks_refuse_what_is_not_there(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    assert _masks(folders, "--ckpt", str(write_student(tmp_path / "a.pt")), *words) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "masks.png").exists()


def test_masks_of_models_of_other_imagery_are_refused(folders: Path, tmp_path: Path) -> None:
    assert _masks(folders, "--ckpt", str(write_student(tmp_path / "a.pt", contract=UINT16))) == 2


def test_images_that_are_named_are_shown_in_that_order(folders: Path, tmp_path: Path) -> None:
    names = [sample.image.stem for sample in load_data(DataRequest(folders, seed=0)).samples["train"][:3]][::-1]
    ckpt = str(write_student(tmp_path / "a.pt"))
    assert _masks(folders, "--ckpt", ckpt, "--split", "train", "--window-px", "32", "--images", *names) == 0
    images = json.loads((tmp_path / "masks.json").read_text())["images"]
    assert [image["image"] for image in images] == names
    assert all(image["window_ltrb"][2] - image["window_ltrb"][0] == 32 for image in images)
