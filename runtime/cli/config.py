"""What a command line asks for, as one value that checks itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kda_edge.errors import UsageError

from ..geo.raster_names import RasterName

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
        bands: 1-based numbers of the model's bands (red, green, blue), or None to ask the file.
        value_range: least and largest value that a scene can hold, or None for the model's own pixels.
        resample: metres a pixel to read a scene at, or `trained` for the nearest that the model learned from, or None.
        any_gsd: map also pixels far finer or coarser than the model learned from.
        min_area: smaller polygons are left out, m2.
        overlap_px: least overlap of tiles, or None for the default.
        as_json: one JSON line a scene instead of a sentence.
        quiet: neither sentence nor progress bar.
        engine: what runs the model, one of `kda_edge.runtime.engines.engine_names.ENGINES`.
        threads: of an engine on the CPU, or 0 for as many as suit this process.
        allow_unverified: map with a model whose certificate is missing, fails or is of another graph.
        polygons: format of the polygons, one of `kda_edge.runtime.cli.values.POLYGONS`.
        max_memory_bytes: most memory to take, or None.
        strict: stop a scene at its first failed tile.
        restart: forget what a run that was cut off has finished.
        overwrite: replace outputs of other scenes or videos.
        shard: number and count of the share of each scene that is wanted, or None for all of it.
        every: look at each `every`-th frame of a video.
        max_side_px: longest side to which frames are made smaller, or None for as they are.
        seconds: of a video, from its start, or None for all.
    """

    scenes: tuple[RasterName, ...]
    model: Path | None
    out_dir: Path | None
    bands: tuple[int, int, int] | None
    value_range: tuple[float, float] | None
    min_area: float
    overlap_px: int | None
    as_json: bool
    quiet: bool
    engine: str = "auto"
    threads: int = 0
    allow_unverified: bool = False
    resample: Literal["trained"] | float | None = None
    any_gsd: bool = False
    polygons: str = "geojson"
    max_memory_bytes: int | None = None
    strict: bool = False
    restart: bool = False
    overwrite: bool = False
    shard: tuple[int, int] | None = None
    videos: tuple[str, ...] = ()
    every: int = 1
    max_side_px: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError("--value-range takes the least, then the largest value")
        if self.shard is not None and (self.min_area or self.polygons != "geojson"):
            raise UsageError("a shard has no polygons yet; give --min-area and --polygons to kda-infer merge")


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
    for field in dataclasses.fields(config):
        name, given = field.name, getattr(config, field.name) != getattr(plain, field.name)
        if not given or name in OF_BOTH | {"scenes", "videos"} or (name in OF_VIDEO) == bool(config.videos):
            continue
        option = "--" + name.removesuffix("_px").removesuffix("_bytes").replace("_", "-")
        raise UsageError(f"{option} means nothing for a {'video' if config.videos else 'scene'}; leave it out")
