"""IoU on labelled images is that of a count by hand, over what may be judged, and strange masks are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_forms import FRAMES, cuts, picture, write_form
from numpy.typing import NDArray

from kda_edge.errors import EngineError, SceneError
from kda_edge.export.tiles.imagery_tiles import corners_of, imagery_tiles, tile_at
from kda_edge.export.tiles.labelled_images import counts_on, digests_of, labelled_images, read_labelled
from kda_edge.manifest import InputContract
from kda_edge.tiling.certificate_tiles import Tile

CONTRACT = InputContract()
TILE_PX = 32


def red_is_landslide(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probability is the red band; pixel by pixel, so that tiling and blending change nothing."""
    return np.asarray(tiles[:, :1] / 255, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of odd sizes with masks of 0 and 255, one of them with a part that is not judged."""
    random = np.random.default_rng(3)
    for count, (height, width) in enumerate([(70, 45), (32, 32), (20, 51)]):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        mask = random.integers(0, 2, (height, width), np.uint8) * 255
        for kind, pixels in (("images", image), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(tmp_path / kind / f"{count}.png"), pixels)
    valid = np.ones((70, 45), np.uint8)
    valid[:, :20] = 0
    (tmp_path / "valid").mkdir()
    assert cv2.imwrite(str(tmp_path / "valid" / "0.png"), valid)
    return tmp_path


def by_hand(folder: Path, threshold: float) -> tuple[int, int, int, int]:
    tp = fp = fn = tn = 0
    for path in sorted((folder / "images").iterdir()):
        red = cv2.imread(str(path))[..., 2].astype(np.float32) / np.float32(255)
        truth = cv2.imread(str(folder / "masks" / path.name), cv2.IMREAD_UNCHANGED) > 0
        valid_path = folder / "valid" / path.name
        judged = cv2.imread(str(valid_path), cv2.IMREAD_UNCHANGED) > 0 if valid_path.exists() else truth | True
        claimed = red >= np.float32(threshold)
        tp += int((claimed & truth & judged).sum())
        fp += int((claimed & ~truth & judged).sum())
        fn += int((~claimed & truth & judged).sum())
        tn += int((~claimed & ~truth & judged).sum())
    return tp, fp, fn, tn


def test_counts_are_those_by_hand_over_all_pixels_that_may_be_judged(folder: Path) -> None:
    images = labelled_images(folder)
    assert [item.image.name for item in images] == ["0.png", "1.png", "2.png"]
    # No share of 255 lies within the blend's rounding of this threshold.
    counts = counts_on(images, red_is_landslide, CONTRACT, TILE_PX, 0.401)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == by_hand(folder, 0.401)
    assert counts.pixels == 70 * 25 + 32 * 32 + 20 * 51


def test_a_digest_tells_pixels_and_masks_apart(folder: Path) -> None:
    images = labelled_images(folder)
    before = list(digests_of(images, CONTRACT))
    assert len(set(before)) == 3
    mask = cv2.imread(str(folder / "masks" / "1.png"), cv2.IMREAD_UNCHANGED)
    mask[0, 0] ^= 255
    cv2.imwrite(str(folder / "masks" / "1.png"), mask)
    after = list(digests_of(images, CONTRACT))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_a_tile_that_the_engine_fails_on_is_an_error_and_never_left_out(folder: Path) -> None:
    def fails_on_the_second(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("no")

    calls = iter([red_is_landslide, fails_on_the_second])

    def engine(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return next(calls, fails_on_the_second)(tiles)

    with pytest.raises(EngineError):
        counts_on(labelled_images(folder), engine, CONTRACT, TILE_PX, 0.4)


def spoil_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks" / "1.png"), np.full((32, 32), 7, np.uint8))


def shrink_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / "masks" / "1.png"), np.zeros((31, 32), np.uint8))


def break_mask(folder: Path) -> None:
    (folder / "masks" / "1.png").write_bytes(b"no image")


def cut_mask(folder: Path) -> None:
    path = folder / "masks" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_mask, "holds the value 7"),
        (shrink_mask, "not of the size"),
        (break_mask, "can't be read as a mask"),
        (cut_mask, "is not whole .*; copy it again"),
    ],
)
def test_a_mask_that_cannot_be_judged_by_is_refused_with_its_name(
    folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(folder)
    with pytest.raises(SceneError, match=words) as caught:
        read_labelled(labelled_images(folder)[1], CONTRACT)
    assert "1.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_of_ours_says_what_to_give(folder: Path) -> None:
    (folder / "masks" / "2.png").unlink()
    with pytest.raises(SceneError, match=r"2\.png has no mask"):
        labelled_images(folder)
    with pytest.raises(SceneError, match="--eval DIR"):
        labelled_images(folder / "nowhere")
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(SceneError, match="holds no imagery"):
        labelled_images(folder)


@pytest.mark.parametrize("form", [form for form in FRAMES if form != "bmp"])
def test_no_figure_comes_from_an_image_or_a_mask_that_is_cut_short(tmp_path: Path, form: str) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        pixels = picture() if kind == "images" else np.repeat((picture()[..., :1] > 99) * np.uint8(255), 3, axis=2)
        path = write_form(tmp_path / kind, form if kind == "images" else "png", pixels)
    (item,) = labelled_images(tmp_path)
    read_labelled(item, CONTRACT)
    for path in (item.image, item.mask):
        good = path.read_bytes()
        for content in cuts(good):
            path.write_bytes(content)
            with pytest.raises(SceneError, match=path.name):
                read_labelled(item, CONTRACT)
        path.write_bytes(good)


def all_tiles(path: Path) -> list[Tile | None]:
    return [tile_at(path, corner, CONTRACT, TILE_PX) for corner in corners_of(path, CONTRACT, TILE_PX)]


@pytest.mark.parametrize("form", FRAMES)
def test_no_tile_to_verify_or_calibrate_on_comes_from_an_image_that_is_cut_short(tmp_path: Path, form: str) -> None:
    path = write_form(tmp_path, form, picture())
    assert imagery_tiles(path, CONTRACT, TILE_PX)
    for content in cuts(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(SceneError, match=path.name):
            all_tiles(path)
