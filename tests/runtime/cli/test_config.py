"""Flags and fields: a new option of a scene is one of each."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from kda_edge.errors import UsageError
from kda_edge.runtime import SceneOptions
from kda_edge.runtime.cli.config import OF_BOTH, OF_VIDEO, InferConfig, flag, require_fitting
from kda_edge.runtime.cli.infer import flags, parse

FLAGS = {action.dest: action for action in flags()._actions if action.option_strings}
OPTIONS = [spec.name for spec in dataclasses.fields(SceneOptions)]
# What to type behind a flag that takes something, and what it means.
TYPED: dict[str, tuple[list[str], object]] = {
    "bands": (["3,2,1"], (3, 2, 1)),
    "value_range": (["-5", "1e3"], (-5.0, 1000.0)),
    "resample": (["0.5"], 0.5),
    "overlap_px": (["9"], 9),
    "min_area": (["2.5"], 2.5),
    "polygons": (["gpkg"], "gpkg"),
    "max_memory_bytes": (["2K"], 2048),
}


def test_each_field_has_its_flag_and_each_flag_its_field() -> None:
    fields = [spec.name for spec in dataclasses.fields(InferConfig)] + OPTIONS
    assert set(fields) - {"scenes", "videos", "options"} == set(FLAGS) - {
        "help",
        "version",
        "video",
    }  # which says what the names are
    assert len(fields) == len(set(fields)), "an option has one home"
    named = {name for name in FLAGS if flag(name) in FLAGS[name].option_strings}
    assert set(FLAGS) - named == {"out_dir", "as_json"}
    assert set(OPTIONS) <= named


def test_the_defaults_of_the_command_line_are_those_of_the_library() -> None:
    assert parse(["s.tif"]).options == SceneOptions()


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_typed_reaches_its_option_alone(name: str) -> None:
    action = FLAGS[name]
    words, value = ([], True) if isinstance(action, argparse._StoreTrueAction) else TYPED[name]
    assert parse(["s.tif", flag(name), *words]).options == SceneOptions(**{name: value})


@pytest.mark.parametrize("words", [["--min-area", "5"], ["--polygons", "gpkg"]], ids=" ".join)
def test_a_shard_with_options_of_polygons_is_refused_before_any_model_is_opened(words: list[str]) -> None:
    with pytest.raises(UsageError, match="a shard has no polygons yet"):
        parse(["s.tif", "--shard", "1/2", *words])


@pytest.mark.parametrize("name", [*OPTIONS, "shard"])
def test_an_option_of_scenes_is_refused_for_a_video_by_its_flag(name: str) -> None:
    words, _ = TYPED.get(name, (["1/2"] if name == "shard" else [], None))
    config = parse(["flight.mp4", flag(name), *words])
    if name in OF_BOTH:
        require_fitting(config, parse(["plain.tif"]))
        return
    with pytest.raises(UsageError, match=f"^{flag(name)} means nothing for a video; leave it out$"):
        require_fitting(config, parse(["plain.tif"]))


@pytest.mark.parametrize("name", sorted(OF_VIDEO))
def test_an_option_of_videos_is_refused_for_a_scene_by_its_flag(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{flag(name)} means nothing for a scene; leave it out$"):
        require_fitting(parse(["s.tif", flag(name), "7"]), parse(["plain.tif"]))
