"""Imagery without labels: all of it is found, and none that is held out is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import scar, write_data_file, write_image

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract
from kda_edge.train.data.band_statistics import band_statistics
from kda_edge.train.data.crops import CACHED_IMAGE_PX, draws
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.unlabelled import load_images


def _image(path: Path, seed: int = 0, height_px: int = 40, width_px: int = 48, **profile: Any) -> Path:
    return write_image(path, scar(np.random.default_rng(seed), height_px, width_px)[0], **profile)


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """A folder as people have it: all formats, folders in folders, hidden files, and files that are no images."""
    root = tmp_path / "pile"
    for i, name in enumerate(["a.tif", "b.png", "north/a.jpg", "north/2024/a.webp", "south/c.tif"]):
        _image(root / name, i)
    _image(root / "hidden.png").rename(root / ".hidden.png")
    _image(root / ".thumbnails" / "a.png")
    _image(root / "old.tif").rename(root / "SHOUTED.TIF")
    (root / "north" / "notes.txt").write_text("no image")
    return root


def test_a_folder_is_searched_to_any_depth_and_hidden_names_are_skipped(pile: Path) -> None:
    data = load_images(DataRequest(pile, seed=0))
    found = {s.image.relative_to(pile).as_posix(): s.group for s in data.samples["train"]}
    assert found == {
        "SHOUTED.TIF": "unlabelled",
        "a.tif": "unlabelled",
        "b.png": "unlabelled",
        "north/a.jpg": "north",
        "north/2024/a.webp": "north/2024",
        "south/c.tif": "south",
    }
    assert data.groups("train") == ["pile/north", "pile/north/2024", "pile/south", "pile/unlabelled"]
    assert (data.samples["val"], data.samples["test"]) == ((), ())
    assert all(s.mask is None and s.source.layout == "folders" for s in data.samples["train"])
    assert load_images(DataRequest(pile, seed=9)).samples == data.samples


def test_linked_folders_are_followed_once_and_circles_end(pile: Path, tmp_path: Path) -> None:
    _image(tmp_path / "elsewhere" / "d.png")
    (pile / "link").symlink_to(tmp_path / "elsewhere")
    (pile / "again").symlink_to(tmp_path / "elsewhere")
    (pile / "north" / "circle").symlink_to(pile)
    names = [s.image.name for s in load_images(DataRequest(pile, seed=0)).samples["train"]]
    assert sorted(names) == sorted(["SHOUTED.TIF", "a.tif", "b.png", "a.jpg", "a.webp", "c.tif", "d.png"])


def test_one_scene_is_cut_into_as_many_crops_as_tile_it_and_a_small_image_into_one(tmp_path: Path) -> None:
    side_px = int(CACHED_IMAGE_PX**0.5)
    large = write_image(tmp_path / "d" / "scene.tif", np.ones((side_px + 1, side_px + 1, 3), np.uint8))
    write_image(tmp_path / "d" / "tile.tif", np.ones((side_px, side_px, 3), np.uint8))
    scene, tile = load_images(DataRequest(tmp_path / "d", seed=0)).samples["train"]
    assert (scene.source.layout, scene.source.name, draws(scene, 512)) == ("scenes", "d", 9)
    assert (tile.source.layout, draws(tile, 512)) == ("folders", 1)
    (alone,) = load_images(DataRequest(large, seed=0)).samples["train"]
    assert (alone.image, alone.source.layout, alone.window_ltrb) == (large, "scenes", (0, 0, side_px + 1, side_px + 1))
    large.rename(write_image(tmp_path / "l" / "images" / "scene.tif", np.zeros((1, 1, 3), np.uint8)))
    write_image(tmp_path / "l" / "masks" / "scene.tif", np.zeros((side_px + 1, side_px + 1), np.uint8))
    (labelled,) = load_images(DataRequest(tmp_path / "l", seed=0)).samples["train"]
    assert (labelled.source.layout, labelled.mask, draws(labelled, 512)) == ("scenes", None, 9)


def test_of_labelled_folders_only_the_train_split_is_seen(folders: Path) -> None:
    for seed in (0, 1):
        labelled, images = load_data(DataRequest(folders, seed=seed)), load_images(DataRequest(folders, seed=seed))
        train = [s.image for s in labelled.samples["train"]]
        assert 0 < len(train) < 20
        assert [s.image for s in images.samples["train"]] == train
        assert {s.mask for s in images.samples["train"]} == {None}


def test_of_a_data_file_only_the_train_groups_and_windows_are_seen(folders: Path, scene: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"s{i:02},{'north' if i % 2 else 'south'}" for i in range(20))
    (folders / "index.csv").write_text(f"stem,county\n{rows}\n")
    described = write_data_file(
        tmp_path / "d.toml",
        '[[source]]\nname = "s"\nroot = "scars"\nindex = "index.csv"\ngroup = "county"\n'
        'train = ["north"]\ntest = ["south"]\n'
        '[[source]]\nname = "o"\nroot = "ortho"\nlayout = "scenes"\nvalid = "valid"\n'
        "windows = { train = [0, 0, 192, 90], test = [0, 100, 192, 160] }\n",
    )
    samples = load_images(DataRequest(described, seed=0)).samples["train"]
    assert {int(s.image.stem[1:]) % 2 for s in samples if s.source.name == "s"} == {1}
    (part,) = [s for s in samples if s.source.name == "o"]
    assert (part.window_ltrb, part.source.layout) == ((0, 0, 192, 90), "scenes")
    assert {s.mask for s in samples} == {None}


def test_phase_two_takes_nothing_from_a_source_without_masks(folders: Path, pile: Path, tmp_path: Path) -> None:
    labelled = '[[source]]\nname = "s"\nroot = "scars"\n'
    alone = load_data(DataRequest(write_data_file(tmp_path / "alone.toml", labelled), seed=0))
    mixed = write_data_file(
        tmp_path / "mixed.toml",
        f'{labelled}[[source]]\nname = "p"\nroot = "pile"\nimages = ""\nmasks = ""\ndraws = 3\n'
        '[[source]]\nname = "one"\nroot = "pile"\nimages = "south/c.tif"\nmasks = ""\nlayout = "scenes"\n',
    )
    assert load_data(DataRequest(mixed, seed=0)).samples == alone.samples
    samples = load_images(DataRequest(mixed, seed=0)).samples["train"]
    assert [s.image for s in samples if s.source.name == "s"] == [s.image for s in alone.samples["train"]]
    assert [draws(s, 64) for s in samples if s.source.name == "p"] == [3] * 6
    assert [(s.image, s.source.layout) for s in samples if s.source.name == "one"] == [
        (pile / "south" / "c.tif", "scenes")
    ]


def test_an_image_that_another_source_holds_out_is_refused(folders: Path, tmp_path: Path) -> None:
    text = (
        '[[source]]\nname = "s"\nroot = "scars"\ntrain = ["s00", "s02"]\ntest = ["s01"]\n'
        '[[source]]\nname = "p"\nroot = "more"\nimages = ""\nmasks = ""\n'
    )
    described = write_data_file(tmp_path / "d.toml", text)
    more = tmp_path / "more"
    more.mkdir()
    (more / "x.png").symlink_to(folders / "images" / "s02.png")
    assert len(load_images(DataRequest(described, seed=0)).samples["train"]) == 3
    (more / "y.png").symlink_to(folders / "images" / "s01.png")
    with pytest.raises(DataError, match=r"y\.png is held out by source s and lies in source p") as caught:
        load_images(DataRequest(described, seed=0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inside", [".", "deep/er"])
@pytest.mark.parametrize("names", [("images", "masks"), ("img", "mask")])
def test_labelled_images_inside_a_pile_are_refused(pile: Path, inside: str, names: tuple[str, str]) -> None:
    """Held-out images would slip in. A region of the CAS layout on its own is such a folder, too."""
    for name in names:
        _image(pile / "region" / inside / name / "a.png")
    with pytest.raises(DataError, match="holds labelled images") as caught:
        load_images(DataRequest(pile / "region" if inside == "." and names[0] == "img" else pile, seed=0))
    assert str(pile / "region" / inside) in str(caught.value)
    assert load_images(DataRequest(pile / "region" / inside / names[0], seed=0)).groups("train") == [
        f"{names[0]}/unlabelled"
    ]


def _damaged(path: Path) -> None:
    path.write_text("no image")


def _grey(path: Path) -> None:
    write_image(path, np.zeros((8, 8), np.uint8))


def _sixteen_bit(path: Path) -> None:
    write_image(path, np.zeros((8, 8, 3), np.uint16))


def _broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone.png")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_damaged, "can't be read as an image"),
        (_grey, "has 1 band and band 3 was declared"),
        (_sixteen_bit, "is uint16 and uint8 was declared"),
        (_broken_link, "there is no file"),
    ],
)
def test_an_image_that_is_not_as_declared_is_named(pile: Path, spoil: Any, reason: str) -> None:
    spoil(pile / "north" / "2024" / "z.tif")
    with pytest.raises(DataError, match=reason) as caught:
        load_images(DataRequest(pile, seed=0))
    assert str(pile / "north" / "2024" / "z.tif") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sixteen_bit_imagery_is_declared_and_can_be_measured_without_masks(tmp_path: Path) -> None:
    image = scar(np.random.default_rng(0), 40, 40)[0].astype(np.uint16) * 12
    scene = write_image(tmp_path / "d" / "a.tif", image)
    declared = InputContract(pixel_type="uint16", value_range=(0, 3060))
    with pytest.raises(DataError, match="measure them with: kda-train statistics"):
        load_images(DataRequest(scene, seed=0, input=declared))
    data = load_images(DataRequest(scene, seed=0, input=declared, need_statistics=False))
    mean, std = band_statistics(data.samples["train"], data.input)
    np.testing.assert_allclose(mean, image.mean(axis=(0, 1)))
    np.testing.assert_allclose(std, image.std(axis=(0, 1)))


@pytest.mark.parametrize(
    "key",
    ['layout = "cas"', 'index = "i.csv"', 'valid = "valid"', 'train = ["a"]', 'test = ["a"]', "fractions = [1, 0, 0]"],
)
def test_a_source_without_masks_is_all_for_train(pile: Path, tmp_path: Path, key: str) -> None:
    text = f'[[source]]\nname = "p"\nroot = "pile"\nimages = ""\nmasks = ""\n{key}\n'
    with pytest.raises(DataError, match="source p: without masks all images are for train"):
        load_images(DataRequest(write_data_file(tmp_path / "d.toml", text), seed=0))


def test_where_there_are_no_images_the_place_is_named(tmp_path: Path, folders: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images \(\.tif"):
        load_images(DataRequest(tmp_path / "empty", seed=0))
    with pytest.raises(DataError, match=r"no data file or folder .*none\.tif"):
        load_images(DataRequest(tmp_path / "none.tif", seed=0))
    for text, reason in (
        ('[[source]]\nname = "p"\nroot = "gone"\nmasks = ""\n', r"no folder or image .*gone/images"),
        ('[[source]]\nname = "s"\nroot = "scars"\ntest = ["s01"]\n', "no images in its train split"),
    ):
        with pytest.raises(DataError, match=reason):
            load_images(DataRequest(write_data_file(tmp_path / "d.toml", text), seed=0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named_and_not_skipped(pile: Path) -> None:
    (pile / "south").chmod(0)
    try:
        with pytest.raises(PermissionError, match="south"):
            load_images(DataRequest(pile, seed=0))
    finally:
        (pile / "south").chmod(0o755)
