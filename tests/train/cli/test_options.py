"""The options of a phase and the fields of its settings are the same, by name and by default."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import pytest

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.train.cli import distill, fit, segment
from kda_edge.train.cli.options import input_contract, settings_from
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.loops.settings import RunSettings
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights

OF_THE_DATA = {"data", "data_root", "pixel_type", "value_range", "gsd", "mean", "std"}
OF_THE_COMMAND = {"out", "resume", "run", "skip_check"}
OF_THE_AUGMENTATION = {"scale", "colour"}


def parsed(command: str, words: Sequence[str] = ()) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    for module in (distill, segment):
        module.add_commands(commands)
    return parser.parse_args([command, "--data", "d", "--out", "o", *words])


def distill_config(words: Sequence[str] = ()) -> DistillConfig:
    return settings_from(DistillConfig, parsed("distill", words))


def segment_config(words: Sequence[str] = ()) -> SegmentConfig:
    return segment.config_from(parsed("segment", words))


def test_without_options_the_settings_have_their_own_defaults() -> None:
    assert distill_config() == DistillConfig()
    assert segment_config() == SegmentConfig()


@pytest.mark.parametrize(
    ("command", "kind", "own"), [("distill", DistillConfig, {"cache"}), ("segment", SegmentConfig, set())]
)
def test_each_field_has_an_option_and_each_option_a_field(command: str, kind: type[RunSettings], own: set[str]) -> None:
    options = set(vars(parsed(command))) - OF_THE_DATA - OF_THE_COMMAND - own
    assert options - OF_THE_AUGMENTATION == {field.name for field in dataclasses.fields(kind)} - {"augmentation"}
    assert options >= OF_THE_AUGMENTATION


def test_options_of_both_phases_together_are_fields_of_their_settings() -> None:
    assert set(fit.SHARED_OPTIONS) <= {field.name for field in dataclasses.fields(RunSettings)}
    assert set(fit.DISTILL_OPTIONS) <= {field.name for field in dataclasses.fields(DistillConfig)}


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
    assert segment_config([*words, "--variant", "nano"]) == SegmentConfig(
        variant="nano",
        loss=LossWeights(1.0, 0.0, 0.5),
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
