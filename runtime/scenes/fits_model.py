"""Checks of a scene against the model: bands, pixel type, ground sampling distance, values.

What can be known from the header is judged before anything is computed. Values are never guessed from: they only show
afterwards whether what was declared can be true.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.addresses import redacted
from kda_edge.errors import SceneError
from kda_edge.ground.ground_sampling import REFUSED, distance
from kda_edge.manifest import InputContract

from ..geo.raster_names import RasterName
from ..map_format import MAP_BANDS
from .band_choice import choose_bands
from .remedies import written_anew

# All pixels in this share of the range, at its lower end, are dark or in other units: an 8-bit scene up to 15.
# A choice, unmeasured.
DARK_SHARE: Final = 1 / 16
CLIPPED_SHARE: Final = 0.5  # more of the values than this beyond the range: it is another range. A choice, unmeasured.
BYTE_TOP: Final = 255

Scaling: TypeAlias = tuple[float, float]  # a value is the stored number times the first, plus the second
UNSCALED: Final = (1.0, 0.0)


def checked_bands(
    dataset: Any, path: RasterName, contract: InputContract, asked: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    """Return the 1-based numbers of the bands that the model gets.

    Raises:
        SceneError: no bands, a map of ours instead of a scene, or nobody knows which bands.
    """
    if dataset.count == 0:
        inside = "".join(f"one of the rasters in it, with -o: {shlex.quote(n)}" for n in dataset.subdatasets[:1])
        raise SceneError(f"{path} has no bands; give {redacted(inside) or 'a colour image'}")
    if dataset.descriptions == MAP_BANDS:
        raise SceneError(f"{path} is a landslide map, not a scene; give the scene that it was made from")
    return choose_bands(path, [color.name.lower() for color in dataset.colorinterp], asked, contract.bands)


def require_pixel_type(
    dataset: Any,
    path: RasterName,
    bands: tuple[int, int, int],
    contract: InputContract,
    value_range: tuple[float, float] | None,
) -> None:
    """Make sure that the pixels are of the model's type, or of one type whose range the user declared.

    Raises:
        SceneError: they are not.
    """
    found = sorted({dataset.dtypes[band - 1] for band in bands})
    if any(kind.startswith("complex") for kind in found):
        raise SceneError(f"{path} holds complex numbers; write their magnitude to a new file and give that one")
    if len(found) > 1:
        raise SceneError(
            f"{path} holds {' and '.join(found)} pixels in its three bands; give them one type with: "
            + written_anew("gdal_translate -ot Float32", path)
        )
    if value_range is None and found != [contract.pixel_type]:
        low, high = contract.value_range
        raise SceneError(
            f"{path} holds {found[0]} pixels and the model was trained on {contract.pixel_type} from "
            f"{low:g} to {high:g}; declare the least and largest value that the scene can hold with --value-range LO HI"
        )


def require_ground_sampling(
    what: object, found_m: float | None, contract: InputContract, *, any_gsd: bool, remedy: str = "--resample"
) -> None:
    """Refuse pixels that no magnification makes into ground that the model has seen.

    Args:
        what: whose pixels they are: the scene's path, or more words.
        found_m: side of a pixel on the ground, metres; None where nobody knows.
        contract: of the model.
        any_gsd: whether they are taken whatever their size is.
        remedy: options with which the scene is read at what the model learned from.

    Raises:
        SceneError: they are more than `ground_sampling.REFUSED` times finer or coarser than any trained on, and were
            not asked for.
    """
    if any_gsd or found_m is None or contract.gsd_m is None or distance(found_m, contract.gsd_m) <= REFUSED:
        return
    finest, coarsest = contract.gsd_m
    raise SceneError(
        f"a pixel of {what} is {found_m:.3g} m and the model learned from {finest:g} to {coarsest:g} m; "
        f"have it read at these with {remedy}, or mapped all the same with --any-gsd"
    )


def value_note(
    values: NDArray[Any], pixel_type: np.dtype[Any], contract: InputContract, value_range: tuple[float, float] | None
) -> str | None:
    """Return a sentence where pixels contradict the range that manifest or user declare.

    Args:
        values: of valid pixels from all over the scene, any shape.
        pixel_type: of the scene.
        contract: of the model.
        value_range: least and largest value that the scene can hold, if the user declared it.
    """
    if values.size == 0:
        return None
    low, high = contract.value_range if value_range is None else value_range
    top, beyond = float(values.max()), float(np.mean((values > high) | (values < low)))
    declared = "the model takes" if value_range is None else "--value-range says"
    remedy = "declare what the scene can hold with --value-range LO HI"
    if beyond > CLIPPED_SHARE:
        return (
            f"{beyond:.0%} of the sampled values lie outside the {low:g} to {high:g} that {declared}, and are clipped: "
            f"trust the map less, and {remedy}"
        )
    if top <= low + (high - low) * DARK_SHARE:
        return (
            f"the largest sampled value is {top:g} of the {low:g} to {high:g} that {declared}: the scene is dark or in "
            f"other units; trust the map less, and {remedy}"
        )
    if pixel_type.kind in "iu" and pixel_type.itemsize > 1 and top <= BYTE_TOP < high:
        return (
            f"the largest sampled value is {top:g}, which is the range of 8-bit pixels, of the {low:g} to {high:g} "
            f"that {declared}: trust the map less, and {remedy}"
        )
    return None


def scaling_note(scaling: Sequence[Scaling]) -> str | None:
    """Return a sentence where a file declares that its values are not the numbers stored in it.

    Args:
        scaling: of each band that the model gets.
    """
    declared = dict.fromkeys(scaling)
    if declared.keys() == {UNSCALED}:
        return None
    words = ", ".join(f"stored x {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}" for scale, offset in declared)
    return (
        f"the file declares that a value is {words}; the numbers stored were mapped, and --value-range counts in them: "
        "where the model learned from such values, write them out with gdal_translate -unscale -ot Float32"
    )
