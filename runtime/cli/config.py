"""The configuration of `kda-infer`: what a command line asks for, as one value that checks itself."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import UsageError

from ..geo.raster_names import RasterName
from ..scene_options import SceneOptions
from .values import source

OF_VIDEO: Final = {"every", "max_side_px", "seconds"}  # options that scenes don't have
OF_BOTH: Final = {
    "model",
    "out_dir",
    "overlap_px",
    "as_json",
    "quiet",
    "engine",
    "allow_unverified",
    "threads",
    "overwrite",
}


@dataclass(frozen=True)
class InferConfig:
    """What the command line asks for.

    Attributes:
        scenes: to map, in this order.
        videos: files, cameras' devices or addresses, instead of scenes.
        model: `.onnx` file, or None for the bundled student.
        out_dir: folder of the outputs, or None for beside each scene.
        options: how each scene is mapped; of these, videos have `overlap_px`.
        as_json: one JSON line a scene instead of a sentence.
        quiet: neither sentence nor progress bar.
        engine: what runs the model, one of `kda_edge.runtime.engines.engine_names.ENGINES`.
        threads: of an engine on the CPU, or 0 for as many as suit this process.
        allow_unverified: map with a model whose certificate is missing, fails or is of another graph.
        shard: number and count of the share of each scene that is wanted, or None for all of it.
        every: look at each `every`-th frame of a video.
        max_side_px: longest side to which frames are made smaller, or None for as they are.
        seconds: of a video, from its start, or None for all.
    """

    scenes: tuple[RasterName, ...]
    videos: tuple[str, ...]
    model: Path | None
    out_dir: Path | None
    options: SceneOptions
    as_json: bool
    quiet: bool
    engine: str
    threads: int
    allow_unverified: bool
    shard: tuple[int, int] | None
    every: int
    max_side_px: int | None
    seconds: float | None

    def __post_init__(self) -> None:
        if self.shard is not None:
            self.options.require_of_a_shard()


def config_from(words: argparse.Namespace) -> InferConfig:
    """Return what was asked for; a flag's value has the name of its field.

    Raises:
        UsageError: options that can't be right together.
    """
    sources = [source(name, video=words.video) for name in words.scenes]
    return InferConfig(
        scenes=tuple(name for name in sources if not isinstance(name, str)),
        videos=tuple(name for name in sources if isinstance(name, str)),
        options=SceneOptions(**_by_field(words, SceneOptions)),
        **_by_field(words, InferConfig, but=("scenes", "videos", "options")),
    )


def _by_field(words: argparse.Namespace, kind: type[Any], but: Collection[str] = ()) -> dict[str, Any]:
    return {spec.name: getattr(words, spec.name) for spec in dataclasses.fields(kind) if spec.name not in but}


def require_fitting(config: InferConfig, plain: InferConfig) -> None:
    """Make sure that each option that was given means something.

    Args:
        config: what was asked for.
        plain: what is asked for without any option.

    Raises:
        UsageError: scenes and videos together, or an option of the one for the other.
    """
    if config.scenes and config.videos:
        raise UsageError(f"scenes and videos are not mapped together; give {config.videos[0]} a command of its own")
    given, default = ({**vars(asked), **vars(asked.options)} for asked in (config, plain))
    for name in (name for name in given if name not in OF_BOTH | {"scenes", "videos", "options"}):
        if given[name] != default[name] and (name in OF_VIDEO) != bool(config.videos):
            raise UsageError(f"{flag(name)} means nothing for a {'video' if config.videos else 'scene'}; leave it out")


def flag(name: str) -> str:
    """Return the flag of a field: its name without the unit."""
    return "--" + name.removesuffix("_px").removesuffix("_bytes").replace("_", "-")
