"""What a figure shows of the imagery: which images, which part of them, and their pixels in the declared range."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from untrained_students import UINT16
from worlds import scar, write_image

from kda_edge.errors import DataError, UsageError
from kda_edge.manifest import InputContract
from kda_edge.train.data.data_file import DataRequest, DataSet, load_data
from kda_edge.train.data.labels import IGNORED, LANDSLIDE
from kda_edge.train.data.sources import Sample, Source
from kda_edge.train.figures.image_view import read_view
from kda_edge.train.figures.landslide_window import drawn_samples, landslide_window, named_samples, window_around

# --- windows and choice


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), st.floats(0, 0.2))
def test_a_window_shows_landslide_and_stays_inside(height: int, width: int, side: int, seed: int, share: float) -> None:
    labels = (np.random.default_rng(seed).random((height + 3, width + 5)) < share).astype(np.uint8)
    within = (5, 3, width + 5, height + 3)

    def read(bounds: tuple[int, int, int, int]) -> np.ndarray:
        return labels[bounds[1] : bounds[3], bounds[0] : bounds[2]]

    found = landslide_window(read, within, side, np.random.default_rng(seed))
    if not read(within).any():
        assert found is None
        return
    assert found is not None
    assert read(found).any()
    left, top, right, bottom = found
    assert 5 <= left < right <= width + 5
    assert 3 <= top < bottom <= height + 3
    assert (right - left, bottom - top) == (min(side, width), min(side, height))


def test_every_pixel_of_landslide_has_its_chance() -> None:
    labels = np.zeros((1200, 8), np.uint8)
    labels[[3, 700, 1199], [1, 6, 7]] = LANDSLIDE
    reads = lambda b: labels[b[1] : b[3], b[0] : b[2]]  # noqa: E731
    found = {landslide_window(reads, (0, 0, 8, 1200), 8, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {(0, 0, 8, 8), (0, 696, 8, 704), (0, 1192, 8, 1200)}
    assert window_around(6, 700, (0, 0, 8, 1200), 8) == (0, 696, 8, 704)


@pytest.fixture
def half(tmp_path: Path) -> DataSet:
    """Eight images in the test split, of which the odd ones show landslide."""
    rng = np.random.default_rng(0)
    for i in range(8):
        image, mask = scar(rng, 40, 48)
        write_image(tmp_path / "half" / "images" / f"h{i}.png", image)
        write_image(tmp_path / "half" / "masks" / f"h{i}.png", mask * 255 * (i % 2))
    (tmp_path / "half.toml").write_text('[[source]]\nname = "half"\nroot = "half"\nfractions = [0, 0, 1]\n')
    return load_data(DataRequest(tmp_path / "half.toml", seed=0))


def test_images_are_drawn_at_random_among_those_with_landslide(half: DataSet) -> None:
    samples = half.samples["test"]
    draw = lambda seed, count: [  # noqa: E731
        s.image.stem for s, _ in drawn_samples(samples, half, count, 512, np.random.default_rng(seed))
    ]
    assert draw(0, 9) == ["h1", "h3", "h5", "h7"]
    assert {name for seed in range(20) for name in draw(seed, 1)} == {"h1", "h3", "h5", "h7"}
    assert draw(3, 2) == draw(3, 2)
    with pytest.raises(DataError, match="shows landslide"):
        drawn_samples(samples[:1], half, 1, 512, np.random.default_rng(0))


def test_a_stem_that_several_groups_have_needs_its_group() -> None:
    source = Source("cas", "cas")
    samples = [Sample(source, g, Path(f"{g}/a.tif"), None, None, (0, 0, 1, 1)) for g in ("north", "south")]
    assert named_samples(samples, ["south/a"]) == [samples[1]]
    with pytest.raises(UsageError, match=r"2 images are called 'a' \(north/a, south/a\)"):
        named_samples(samples, ["a"])


# --- what is shown


@pytest.mark.parametrize("pixel_type", ["uint16", "float32"])
def test_imagery_of_other_types_is_shown_through_its_declared_range(tmp_path: Path, pixel_type: str) -> None:
    raw, mask = scar(np.random.default_rng(0), 40, 48)
    pixels = raw.astype(pixel_type) * (5000 / 255)  # some lies beyond what is declared
    pixels = pixels.astype(pixel_type)
    if pixel_type == "float32":
        pixels[:5, :7] = np.nan
    contract = dataclasses.replace(UINT16, pixel_type=pixel_type)
    image = write_image(tmp_path / "a.tif", pixels)
    sample = Sample(
        Source("a", "", mask_landslide=()), "a", image, write_image(tmp_path / "m.tif", mask), None, (0,) * 4
    )
    view = read_view(sample, contract, at_xy=None, side_px=64, rng=np.random.default_rng(0))
    known = np.isfinite(pixels).all(axis=2)
    assert np.allclose(view.share[known], np.clip(pixels[known] / 4000, 0, 1), atol=1e-6)
    assert np.isfinite(view.share).all()
    assert ((view.labels == IGNORED) == ~known).all()
    assert (view.landslide[known] == (mask[known] == 1)).all()


def test_a_large_image_is_cut_around_the_pixel_and_says_where(tmp_path: Path) -> None:
    raw, _ = scar(np.random.default_rng(0), 100, 150)
    image = write_image(tmp_path / "a.png", raw)
    sample = Sample(Source("a", ""), "a", image, None, None, (0,) * 4)
    view = read_view(sample, InputContract(), at_xy=(140, 30), side_px=64, rng=np.random.default_rng(0))
    assert view.window_ltrb == (86, 0, 150, 64)
    assert view.at_xy == (54, 30)
    assert np.allclose(view.share * 255, raw[:64, 86:150], atol=1e-3)
    with pytest.raises(UsageError, match="larger than 64 px"):
        read_view(sample, InputContract(), at_xy=None, side_px=64, rng=np.random.default_rng(0))


def test_no_figure_shows_an_image_that_is_cut_short(half: DataSet) -> None:
    sample = half.samples["test"][1]
    sample.image.write_bytes(sample.image.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"{sample.image.name} "):
        read_view(sample, half.input, at_xy=None, side_px=30, rng=np.random.default_rng(0))
