"""A run knows its data by content when it is resumed, and may be lengthened."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import cv2
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_checkpoint, read_content, write_content
from kda_edge.train.data.data_file import DataRequest, DataSet, load_data
from kda_edge.train.loops.metrics_csv import METRICS
from kda_edge.train.optimisation.schedules import cosine_rate
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


@pytest.fixture
def short(config: SegmentConfig) -> SegmentConfig:
    return dataclasses.replace(config, epochs=1)


def weights(out: Path) -> dict[str, torch.Tensor]:
    network: dict[str, torch.Tensor] = read_content(out / "last.pt")["run"]["network"]
    return network


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_changed_pixel_is_refused_with_the_old_and_the_new_file(
    kind: str, split: str, short: SegmentConfig, data: DataSet, folders: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    segment(short, data, out)
    before = (out / "last.pt").read_bytes()
    file = folders / kind / data.samples[split][0].image.name
    pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    pixels[0, 0] = 255 - pixels[0, 0]
    cv2.imwrite(str(file), pixels)
    with pytest.raises(TrainingError) as told:
        segment(short, load_data(DataRequest(folders, seed=0)), out, resume=True)
    what = {"images": "image", "masks": "mask"}[kind]
    assert f"was trained on other data: in the {split} split, {what} {file.name} (" in str(told.value)
    assert f"is now {file.name} ({file.stat().st_size} bytes, SHA-256 " in str(told.value)
    assert (out / "last.pt").read_bytes() == before


def test_a_renamed_folder_goes_on_with_the_same_weights(
    config: SegmentConfig, data: DataSet, folders: Path, tmp_path: Path
) -> None:
    segment(config, data, tmp_path / "whole")

    def stop(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(config, data, tmp_path / "run", progress=stop)
    moved = folders.rename(tmp_path / "another name")
    segment(config, load_data(DataRequest(moved, seed=0)), tmp_path / "run", resume=True)
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_an_image_more_is_refused_with_both_numbers(short: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    segment(short, data, tmp_path / "run")
    fewer = dataclasses.replace(data, samples={**data.samples, "train": data.samples["train"][:-1]})
    with pytest.raises(TrainingError, match="the train split had 16 images and has 15"):
        segment(short, fewer, tmp_path / "run", resume=True)


def test_an_older_run_is_known_by_the_names_of_its_images(short: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    segment(short, data, tmp_path / "run")
    content = dict(read_content(tmp_path / "run" / "last.pt"))
    del content["run"]["settings"]["data"]
    write_content(tmp_path / "run" / "last.pt", content)
    segment(short, data, tmp_path / "run", resume=True)
    turned = dataclasses.replace(data, samples={**data.samples, "train": data.samples["train"][::-1]})
    with pytest.raises(TrainingError, match=r"trained with samples\[0\] scars/s.*, not scars/s"):
        segment(short, turned, tmp_path / "run", resume=True)


def test_a_lengthened_run_at_constant_rates_is_a_run_of_that_length(
    config: SegmentConfig, data: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    constant = dataclasses.replace(config, backbone_rate=(1e-3, 1e-3), decoder_rate=(1e-3, 1e-3))
    segment(constant, data, tmp_path / "whole", command="kda-train segment")
    segment(dataclasses.replace(constant, epochs=1), data, tmp_path / "run", command="kda-train segment")
    segment(constant, data, tmp_path / "run", command="kda-train segment", resume=True)
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    how = "; lengthened after epoch 1 from 1 to 3 epochs"
    assert f"resuming after 1 of 3 epochs{how}" in caplog.messages
    assert read_checkpoint(tmp_path / "run" / "last.pt").training.command == f"kda-train segment{how}"
    with pytest.raises(TrainingError, match="trained with epochs 3, not 2; resume"):
        segment(dataclasses.replace(constant, epochs=2), data, tmp_path / "run", resume=True)


def test_the_epochs_to_come_have_the_rates_of_the_new_length(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    """The last rate of 1 epoch is not where 3 epochs go on: their second ends well above it, their third on it."""
    rates = []
    for epochs in (1, 3):
        segment(dataclasses.replace(config, epochs=epochs), data, tmp_path / "run", resume=True, progress=None)
        run = read_content(tmp_path / "run" / "last.pt")["run"]
        rates.append(run["optimizer"]["param_groups"][0]["lr"])
        assert run["step"] == 2 * epochs
    assert rates == pytest.approx([1e-5, 1e-5])
    assert run["lengthened"] == [[1, 1, 3]]
    lines = (tmp_path / "run" / METRICS).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]
    log = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.value for event in log.Scalars("train/backbone_rate")] == pytest.approx(
        [1e-5, cosine_rate(3, total_steps=6, warmup_steps=0, first=1e-3, last=1e-5), 1e-5]
    )
