from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.errors import SceneError
from kda_edge.runtime.scenes.band_choice import choose_bands


@pytest.mark.parametrize(
    ("colors", "asked", "expected"),
    [
        (["red", "green", "blue"], None, (1, 2, 3)),
        (["blue", "green", "red"], None, (3, 2, 1)),
        (["alpha", "green", "undefined", "blue", "red"], None, (5, 2, 4)),
        (["red", "green", "blue", "alpha"], None, (1, 2, 3)),
        (["gray", "undefined", "undefined"], None, (1, 2, 3)),
        (["undefined", "undefined", "undefined", "alpha"], None, (1, 2, 3)),
        (["gray", "undefined", "undefined", "undefined"], (3, 2, 1), (3, 2, 1)),
        (["red", "green", "blue"], (3, 2, 1), (3, 2, 1)),
        (["gray"], (1, 1, 1), (1, 1, 1)),
    ],
    ids=str,
)
def test_red_green_and_blue_are_as_declared_else_as_the_file_says_else_the_only_three(
    colors: list[str], asked: tuple[int, int, int] | None, expected: tuple[int, int, int]
) -> None:
    assert choose_bands(Path("x.tif"), colors, asked) == expected


@pytest.mark.parametrize(
    ("colors", "asked", "words"),
    [
        (["gray"], None, ("too few bands", "band 1 gray", "--bands 1,1,1")),
        (["gray", "alpha"], None, ("too few bands", "1 gray, 2 alpha")),
        (["gray", "undefined", "undefined", "undefined"], None, ("4 undefined", "--bands R,G,B")),
        (["green", "undefined", "undefined"], None, ("does not say", "--bands R,G,B")),
        (["red", "red", "blue"], None, ("does not say", "--bands R,G,B")),
        (["hue", "saturation", "lightness"], None, ("does not say", "hue")),
        (["red", "green", "blue"], (1, 2, 4), ("no band 4", "band 1 red, 2 green, 3 blue")),
        (["red", "green", "blue"], (0, 1, 2), ("no band 0",)),
        (["red", "green", "blue", "alpha"], (1, 2, 4), ("band 4", "its alpha band", "choose others with --bands")),
        (["alpha", "gray"], (1, 1, 1), ("band 1", "its alpha band")),
        (["palette"], None, ("palette", "gdal_translate -expand rgb x.tif")),
        (["palette", "alpha"], None, ("palette", "gdal_translate -expand rgb x.tif")),
        (["palette"], (1, 1, 1), ("palette", "gdal_translate -expand rgb x.tif")),
    ],
    ids=str,
)
def test_bands_that_nobody_declared_are_never_guessed(
    colors: list[str], asked: tuple[int, int, int] | None, words: tuple[str, ...]
) -> None:
    with pytest.raises(SceneError) as caught:
        choose_bands(Path("x.tif"), colors, asked)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_model_of_other_bands_must_be_told_them() -> None:
    colors, wanted = ["red", "green", "blue", "undefined"], ("nir", "red", "green")
    with pytest.raises(SceneError, match=r"takes the bands nir, red, green .* in the model's order with --bands"):
        choose_bands(Path("x.tif"), colors, None, wanted)
    assert choose_bands(Path("x.tif"), colors, (4, 1, 2), wanted) == (4, 1, 2)
