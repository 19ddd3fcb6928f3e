"""Options of a scene's map: which pixels are read, how they are tiled, what is written and what a run may take.

Said once, for `Segmenter`, for a run and for the command line. Imports nothing heavy: `kda-infer --help` needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, Literal, TypeAlias

from kda_edge.errors import UsageError

POLYGON_FORMATS: Final = ("geojson", "gpkg")
LARGEST_VALUE: Final = 1e30  # of a declared range: differences and quotients stay within float32

# At which ground sampling distance a scene is read: as it is, at the nearest that the model learned from, or at so
# many metres.
Resample: TypeAlias = Literal["trained"] | float | None


def require_value_range(value_range: tuple[float, float]) -> None:
    """Make sure that values can be mapped from a range.

    Raises:
        UsageError: it is empty or endless.
    """
    low, high = value_range
    if not -LARGEST_VALUE <= low < high <= LARGEST_VALUE:
        raise UsageError(f"the value range {low:g} {high:g} is empty; give the least, then the largest value")


def require_resample(resample: Resample) -> None:
    """Make sure that a scene can be read at a ground sampling distance.

    Raises:
        UsageError: it is no number of metres above 0.
    """
    if resample is not None and resample != "trained" and not 0 < resample < inf:
        raise UsageError(f"--resample takes metres above 0, not {resample:g}")


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How a scene is mapped; each option has a default that suits most scenes.

    Attributes:
        bands: 1-based numbers of the model's bands (red, green, blue), in its order; None asks the file.
        value_range: least and largest value that the scene can hold, mapped linearly onto the model's; between -1e30
            and 1e30. None demands the model's own pixel type.
        resample: ground sampling distance to read the scene and make the map at, metres above 0; `trained` is the
            nearest that the model learned from; None is the scene's own.
        quicklook: map a quarter of the resolution, as a quicklook with files of its own beside those of the full map.
        any_gsd: map also a scene whose pixels are far finer or coarser than any that the model learned from.
        overlap_px: least overlap of neighbouring tiles, 0 to a tile's side less 1; None is a quarter of a tile.
        min_area: smaller polygons are left out, 0 or more; m2, or pixels where nobody knows their area.
        polygons: their format, `geojson` or `gpkg`.
        max_memory_bytes: most memory that the process may take; None: what is fastest.
        strict: stop at the first failed tile instead of marking it.
        restart: forget what a run that was cut off has finished.
        overwrite: replace the map of another scene, should one lie there; one of the same scene always is.

    Raises:
        UsageError: an option that can't be right, whatever the scene and the model are.
    """

    bands: tuple[int, int, int] | None = None
    value_range: tuple[float, float] | None = None
    resample: Resample = None
    quicklook: bool = False
    any_gsd: bool = False
    overlap_px: int | None = None
    min_area: float = 0.0
    polygons: str = POLYGON_FORMATS[0]
    max_memory_bytes: int | None = None
    strict: bool = False
    restart: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.value_range is not None:
            require_value_range(self.value_range)
        require_resample(self.resample)
        if self.quicklook and self.resample is not None:
            raise UsageError("--quicklook and --resample both say at which resolution to read the scene; give one")
        if not 0 <= self.min_area < inf:
            raise UsageError(f"the least area must be 0 or more, not {self.min_area:g}")
        if self.polygons not in POLYGON_FORMATS:
            raise UsageError(f"polygons are written as {' or '.join(POLYGON_FORMATS)}, not {self.polygons!r}")

    def require_of_a_shard(self) -> None:
        """Make sure that it is of the full map, and nothing is asked of the polygons, which `merge_shards` makes.

        Raises:
            UsageError: something is.
        """
        if self.quicklook:
            raise UsageError("a quicklook is made whole, not in shards; leave out --shard or --quicklook")
        if self.min_area or self.polygons != SceneOptions.polygons:
            raise UsageError("a shard has no polygons yet; give --min-area and --polygons to kda-infer merge")

    def changed_by(self, keywords: Mapping[str, Any]) -> SceneOptions:
        """Return the options with some replaced, from the keywords of a call of `Segmenter` as it was spelled before.

        To go with the next release, and with it the `**keywords` there.

        Raises:
            UsageError: an option that can't be right.
            TypeError: there is no such option.
        """
        if not keywords:
            return self
        options = replace(self, **keywords)
        said = ", ".join(f"{name}={value!r}" for name, value in keywords.items())
        warnings.warn(
            f"options are given as one value from now on: SceneOptions({said})", DeprecationWarning, stacklevel=3
        )
        return options


DEFAULT_OPTIONS: Final = SceneOptions()
