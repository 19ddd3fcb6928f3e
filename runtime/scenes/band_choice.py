"""The choice of bands: which three the model gets, said by the user, by the file, or by there being three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kda_edge.errors import SceneError

from ..geo.raster_names import RasterName
from .remedies import written_anew

RGB: Final = ("red", "green", "blue")
UNTOLD: Final = ("gray", "undefined")  # GDAL's words for a band of which the file says nothing


def choose_bands(
    name: RasterName, colors: Sequence[str], asked: tuple[int, int, int] | None, wanted: Sequence[str] = RGB
) -> tuple[int, int, int]:
    """Return the 1-based numbers of the bands that the model gets, in its order.

    Args:
        name: of the scene, for the message.
        colors: colour interpretation of each band, GDAL's words in lower case.
        asked: what the user declared, or None.
        wanted: names of the model's bands; any but red, green, blue must be declared.

    Raises:
        SceneError: the file does not say, a declared band is not there or is an alpha band, or the colours come from a
            palette.
    """
    if asked is not None:
        missing = [band for band in asked if not 1 <= band <= len(colors)]
        if missing:
            raise SceneError(
                f"{name} has no band {missing[0]}: {listing(colors)}; choose among these with --bands R,G,B"
            )
        chosen = asked
    elif tuple(wanted) != RGB:
        raise SceneError(
            f"the model takes the bands {', '.join(wanted)} and {name} has {listing(colors)}; "
            "say their numbers in the model's order with --bands"
        )
    elif all(colors.count(color) == 1 for color in RGB):
        chosen = (colors.index("red") + 1, colors.index("green") + 1, colors.index("blue") + 1)
    else:
        plain = [band for band, color in enumerate(colors, start=1) if color != "alpha"]
        if "palette" in colors:
            raise _palette(name)
        if len(plain) < 3:
            raise SceneError(
                f"{name} has too few bands, {listing(colors)}, and the model needs red, green and blue; "
                "give a colour image, or use a grey band three times with --bands 1,1,1"
            )
        in_order = all(colors[band - 1] in (*UNTOLD, color) for band, color in zip(plain, RGB, strict=False))
        if len(plain) > 3 or not in_order:
            raise SceneError(
                f"{name} does not say which bands are red, green and blue: {listing(colors)}; say it with --bands R,G,B"
            )
        chosen = (plain[0], plain[1], plain[2])
    if any(colors[band - 1] == "palette" for band in chosen):
        raise _palette(name)
    alpha = next((band for band in chosen if colors[band - 1] == "alpha"), None)
    if alpha is not None:
        raise SceneError(
            f"band {alpha} of {name} is its alpha band, which only says where it has data; choose others with --bands"
        )
    return chosen


def _palette(name: RasterName) -> SceneError:
    return SceneError(
        f"{name} holds palette numbers, not colours; write the colours out with: "
        + written_anew("gdal_translate -expand rgb", name)
    )


def listing(colors: Sequence[str]) -> str:
    """Return the bands in words, such as `band 1 red, 2 green`."""
    return "band " + ", ".join(f"{band} {color}" for band, color in enumerate(colors, start=1))
