"""The options of a phase and the fields of its settings are the same, by name and by default."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.train.cli import distill, fit, segment
from kda_edge.train.cli.options import configured_data, input_contract
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataRequest
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.loops.settings import RunSettings
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights

OF_THE_TEACHERS = {"teacher_ckpt", "teacher_share", "temperature"}
PARTED = {"augmentation", "teachers"}  # fields whose parts are options
OF_THE_DATA = {"data", "config", "data_root", "pixel_type", "value_range", "gsd", "mean", "std"}
OF_THE_COMMAND = {"out", "resume", "run", "skip_check", "skip_report"}
OF_THE_AUGMENTATION = {"scale", "colour"}


def parsed(command: str, words: Sequence[str] = ()) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for module in (distill, segment):
        module.add_commands(commands)
    return parser.parse_args([command, "--data", "d", "--out", "o", *words])


def distill_config(words: Sequence[str] = ()) -> DistillConfig:
    return distill.config_from(parsed("distill", words), {})


def segment_config(words: Sequence[str] = ()) -> SegmentConfig:
    return segment.config_from(parsed("segment", words), {})


def test_without_options_the_settings_have_their_own_defaults() -> None:
    assert distill_config() == DistillConfig()
    assert segment_config() == SegmentConfig()


@pytest.mark.parametrize(
    ("command", "kind", "own"),
    [("distill", DistillConfig, {"cache"}), ("segment", SegmentConfig, {"landslide_weight", *OF_THE_TEACHERS})],
)
def test_each_field_has_an_option_and_each_option_a_field(command: str, kind: type[RunSettings], own: set[str]) -> None:
    options = set(vars(parsed(command))) - OF_THE_DATA - OF_THE_COMMAND - own
    assert options - OF_THE_AUGMENTATION == {field.name for field in dataclasses.fields(kind)} - PARTED
    assert options >= OF_THE_AUGMENTATION


def test_options_of_both_phases_together_are_fields_of_their_settings() -> None:
    assert set(fit.SHARED_OPTIONS) <= {field.name for field in dataclasses.fields(RunSettings)}
    assert set(fit.DISTILL_OPTIONS) <= {field.name for field in dataclasses.fields(DistillConfig)}
    assert set(fit.SEGMENT_RATES) <= {field.name for field in dataclasses.fields(SegmentConfig)}


def test_an_option_is_stronger_than_the_configuration_file_and_leaves_the_rest_of_it() -> None:
    table = {"epochs": 7, "crop_px": 64, "augmentation": {"flip": False, "colour": 0.1}, "loss": {"focal_gamma": 1.0}}
    words = ["--epochs", "9", "--colour", "0.2", "--loss", "1", "2", "3"]
    assert segment.config_from(parsed("segment", words), table) == SegmentConfig(
        epochs=9,
        crop_px=64,
        finish_px=64,
        augmentation=Augmentation(flip=False, colour=0.2),
        loss=LossWeights(1.0, 2.0, 3.0, focal_gamma=1.0),
    )
    assert distill.config_from(parsed("distill", ["--epochs", "9"]), {"epochs": 7, "batch": 4}) == DistillConfig(
        epochs=9, batch=4
    )


def test_imagery_is_named_by_options_or_by_the_file_and_not_by_parts_of_both() -> None:
    table = {"path": "slides", "root": "disk", "input": {"gsd_m": [0.5, 2.0]}}
    options = parsed("segment")
    assert configured_data(options, table, 3) == DataRequest(Path("d"), seed=3)
    options.data = None
    declared = InputContract(gsd_m=(0.5, 2.0))
    assert configured_data(options, table, 3) == DataRequest(Path("slides"), 3, Path("disk"), declared)
    with pytest.raises(UsageError, match="no imagery is named"):
        configured_data(options, {}, 0)
    options.gsd = [1.0, 2.0]
    with pytest.raises(UsageError, match="are about --data"):
        configured_data(options, table, 0)
    with pytest.raises(UsageError, match="unknown field 'folder'"):
        configured_data(argparse.Namespace(**{**vars(options), "gsd": None}), {"path": "a", "folder": "b"}, 0)


def test_what_is_typed_is_what_is_set() -> None:
    """Lists of the command line are tuples in the settings, which are compared with those of a run that is resumed."""
    words = ["--loss-weights", "adaptive", "--weights", "1", "2", "--student-rate", "1e-3", "1e-5", "--threads", "3"]
    assert distill_config([*words, "--scale", "1", "1", "--colour", "0"]) == DistillConfig(
        balance="adaptive",
        weights=(1.0, 2.0),
        student_rate=(1e-3, 1e-5),
        threads=3,
        augmentation=Augmentation(scale=(1.0, 1.0), colour=0.0),
    )
    words = ["--loss", "1", "0", "0.5", "--crop-px", "64", "--decoder-rate", "1e-3", "1e-5", "--recompute"]
    words += ["--landslide-weight", "3", "--landslide-share", "0.7"]
    assert segment_config([*words, "--variant", "nano"]) == SegmentConfig(
        variant="nano",
        loss=LossWeights(1.0, 0.0, 0.5, landslide_weight=3.0),
        landslide_share=0.7,
        crop_px=64,
        finish_px=64,  # of the crops, unless it is said
        decoder_rate=(1e-3, 1e-5),
        recompute=True,
    )
    assert segment_config(["--crop-px", "64", "--finish-px", "96"]).finish_px == 96


@pytest.mark.parametrize("make", [distill_config, segment_config])
def test_settings_that_can_not_be_right_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match="epochs and batch must be 1 or more"):
        make(["--epochs", "0"])


@pytest.mark.parametrize("gsd", [("0", "1"), ("2", "1"), ("1", "inf"), ("nan", "1")])
def test_a_ground_sampling_distance_is_finest_then_coarsest(gsd: tuple[str, str]) -> None:
    assert input_contract(parsed("segment")) is None
    assert input_contract(parsed("segment", ["--gsd", "0.2", "1"])) == InputContract(gsd_m=(0.2, 1.0))
    with pytest.raises(UsageError, match="--gsd takes the finest, then the coarsest"):
        input_contract(parsed("segment", ["--gsd", *gsd]))
