"""Training data: every layout is read and split as declared, and whatever contradicts itself is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from worlds import scar, write_data_file, write_image

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract
from kda_edge.train.data.crops import read_labelled
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.unlabelled import load_images


def test_a_folder_is_split_eight_to_one_to_one_and_every_image_once(folders: Path) -> None:
    data = load_data(DataRequest(folders, seed=3))
    names = {split: [s.image.stem for s in samples] for split, samples in data.samples.items()}
    assert {split: len(found) for split, found in names.items()} == {"train": 16, "val": 2, "test": 2}
    assert sorted(name for found in names.values() for name in found) == [f"s{i:02}" for i in range(20)]
    assert {
        split: [s.image.stem for s in found] for split, found in load_data(DataRequest(folders, seed=3)).samples.items()
    } == names
    assert [s.image.stem for s in load_data(DataRequest(folders, seed=4)).samples["val"]] != names["val"]


@pytest.mark.parametrize(
    ("image_ending", "mask_ending"), [(".png", ".tif"), (".webp", ".png"), (".tif", ".png"), (".jpg", ".webp")]
)
def test_image_and_mask_may_differ_in_format(tmp_path: Path, image_ending: str, mask_ending: str) -> None:
    image, mask = scar(np.random.default_rng(0), 40, 56)
    mask_pixels = mask * 255
    if mask_ending == ".webp":  # WebP has no single-band images
        mask_pixels = np.repeat(mask_pixels[..., None], 3, axis=2)
    for i in range(10):
        write_image(tmp_path / "d" / "images" / f"{i}{image_ending}", image)
        write_image(tmp_path / "d" / "masks" / f"{i}{mask_ending}", mask_pixels)
    sample = load_data(DataRequest(tmp_path / "d", seed=0)).samples["train"][0]
    pixels, valid, labels = read_labelled(sample, InputContract(), sample.window_ltrb)
    assert valid.all()
    np.testing.assert_array_equal(labels, mask)
    # JPEG blurs colours at edges; the others are exact.
    assert np.abs(pixels.astype(int) - image).mean() <= (10 if image_ending == ".jpg" else 0)


def test_the_cas_layout_splits_at_random_or_by_region(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for region in ("Haiti", "Palu", "Luding"):
        for i in range(10):
            image, mask = scar(rng, 32, 32)
            write_image(tmp_path / "CAS" / region / "img" / f"t{i}.tif", image)
            write_image(tmp_path / "CAS" / region / "mask" / f"t{i}.tif", mask * 38)  # CAS: not 0 is landslide
    data = load_data(DataRequest(tmp_path / "CAS", seed=0))
    assert {split: len(found) for split, found in data.samples.items()} == {"train": 24, "val": 3, "test": 3}
    assert set(data.groups("train")) == {"CAS/Haiti", "CAS/Luding", "CAS/Palu"}
    described = write_data_file(
        tmp_path / "cas.toml",
        '[[source]]\nname = "CAS"\nroot = "CAS"\nlayout = "cas"\nmask_landslide = []\n'
        'train = ["Haiti"]\nval = ["Palu"]\ntest = ["Luding"]\n',
    )
    data = load_data(DataRequest(described, seed=0))
    assert (data.groups("train"), data.groups("val"), data.groups("test")) == (
        ["CAS/Haiti"],
        ["CAS/Palu"],
        ["CAS/Luding"],
    )
    assert {split: len(found) for split, found in data.samples.items()} == {"train": 10, "val": 10, "test": 10}


def write_split(root: Path, names: dict[str, int]) -> None:
    """Write a folder with images and masks a split, as many as told; all splits have the same file names."""
    rng = np.random.default_rng(0)
    for name, count in names.items():
        for i in range(count):
            image, mask = scar(rng, 32, 40)
            write_image(root / name / "images" / f"{i}.png", image)
            write_image(root / name / "masks" / f"{i}.png", mask * 255)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_folders_named_after_splits_are_the_splits(tmp_path: Path, val: str) -> None:
    write_split(tmp_path / "d", {"train": 5, val: 3, "test": 2})
    described = write_data_file(tmp_path / "d.toml", '[[source]]\nname = "d"\nroot = "d"\nlayout = "splits"\n')
    for place in (tmp_path / "d", described):
        data = load_data(DataRequest(place, seed=0))
        for split, name, count in (("train", "train", 5), ("val", val, 3), ("test", "test", 2)):
            folder = tmp_path / "d" / name
            assert [s.image for s in data.samples[split]] == [folder / "images" / f"{i}.png" for i in range(count)]
            assert [s.mask for s in data.samples[split]] == [folder / "masks" / f"{i}.png" for i in range(count)]
            assert data.groups(split) == [f"d/{split}"]
        assert [s.image for s in load_images(DataRequest(place, seed=0)).samples["train"]] == [
            s.image for s in data.samples["train"]
        ]


def test_folders_of_splits_that_can_not_be_told_apart_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "d", {"train": 2, "val": 2, "valid": 2})
    with pytest.raises(DataError, match="are both the val split; keep one of them"):
        load_data(DataRequest(tmp_path / "d", seed=0))
    (tmp_path / "none").mkdir()
    text = '[[source]]\nname = "d"\nroot = "none"\nlayout = "splits"\n'
    with pytest.raises(DataError, match="has no train/, val/ or test/ with images/ and masks/"):
        load_data(DataRequest(write_data_file(tmp_path / "d.toml", text), seed=0))
    for more in ('val = ["a"]', "fractions = [0.5, 0.5, 0.0]", 'masks = ""', 'index = "i.csv"', 'valid = "valid"'):
        with pytest.raises(DataError, match="its folders train, val and test are the splits"):
            load_data(DataRequest(write_data_file(tmp_path / "d.toml", text + more), seed=0))


def test_an_index_splits_by_group(folders: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"s{i:02},{'north' if i % 2 else 'south'}" for i in range(20))
    (folders / "index.csv").write_text(f"stem,county\n{rows}\n")
    described = write_data_file(
        tmp_path / "d.toml",
        '[[source]]\nname = "s"\nroot = "scars"\nindex = "index.csv"\ngroup = "county"\n'
        'train = ["north"]\ntest = ["south"]\n',
    )
    data = load_data(DataRequest(described, seed=0))
    assert {int(s.image.stem[1:]) % 2 for s in data.samples["train"]} == {1}
    assert {int(s.image.stem[1:]) % 2 for s in data.samples["test"]} == {0}
    assert data.samples["val"] == ()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = shutil.copy(described, elsewhere)
    assert load_data(DataRequest(Path(moved), seed=0, root=tmp_path)).groups("train") == data.groups("train")


def test_a_scene_is_divided_by_windows_and_not_judged_where_it_is_not_valid(scene: Path, tmp_path: Path) -> None:
    described = write_data_file(
        tmp_path / "d.toml",
        '[[source]]\nname = "o"\nroot = "ortho"\nlayout = "scenes"\nvalid = "valid"\nmask_landslide = [1]\n'
        "windows = { train = [0, 0, 192, 90], test = [0, 100, 192, 160] }\n",
    )
    data = load_data(DataRequest(described, seed=0))
    train, test = data.samples["train"][0], data.samples["test"][0]
    assert (train.height_px, train.width_px, test.height_px) == (90, 192, 60)
    image, valid, labels = read_labelled(train, data.input, train.window_ltrb)
    assert image.shape == (90, 192, 3)
    assert not valid[:, :40].any()
    assert valid[:, 40:].all()
    assert (labels[:, :40] == 255).all()  # nodata of the image
    assert (labels[:10] == 255).all()  # the valid mask
    assert set(np.unique(labels[10:, 40:])) <= {0, 1}


def test_sixteen_bit_and_float_imagery_is_declared_never_guessed(tmp_path: Path) -> None:
    image, mask = scar(np.random.default_rng(0), 40, 40)
    for i in range(10):
        write_image(tmp_path / "d" / "images" / f"{i}.tif", image.astype(np.uint16) * 12)
        write_image(tmp_path / "d" / "masks" / f"{i}.tif", mask)
    with pytest.raises(DataError, match="is uint16 and uint8 was declared"):
        load_data(DataRequest(tmp_path / "d", seed=0))
    with pytest.raises(DataError, match="needs its own mean and std; measure them with: kda-train statistics"):
        load_data(DataRequest(tmp_path / "d", seed=0, input=InputContract(pixel_type="uint16", value_range=(0, 3060))))
    declared = InputContract(pixel_type="uint16", value_range=(0, 3060), mean=(1000, 1000, 1000), std=(500, 500, 500))
    data = load_data(DataRequest(tmp_path / "d", seed=0, input=declared))
    pixels, _, _ = read_labelled(data.samples["train"][0], data.input, data.samples["train"][0].window_ltrb)
    np.testing.assert_array_equal(pixels, image.astype(np.uint16) * 12)


def _no_mask(root: Path) -> None:
    (root / "masks" / "s03.png").unlink()


def _size(root: Path) -> None:
    write_image(root / "masks" / "s03.png", np.zeros((5, 7), np.uint8))


def _strange(root: Path) -> None:
    mask = np.zeros((51, 61), np.uint8)
    mask[0, :2] = 7, 255
    write_image(root / "masks" / "s03.png", mask)


def _both(root: Path) -> None:
    mask = np.zeros((51, 61), np.uint8)
    mask[0, :2] = 1, 255
    write_image(root / "masks" / "s03.png", mask)


def _coloured(root: Path) -> None:
    mask = np.zeros((51, 61, 3), np.uint8)
    mask[..., 0] = 255
    write_image(root / "masks" / "s03.png", mask)


def _damaged(root: Path) -> None:
    path = root / "masks" / "s03.png"
    path.write_bytes(path.read_bytes()[:60])


def _not_an_image(root: Path) -> None:
    (root / "images" / "s03.png").write_text("no image")


def _grey(root: Path) -> None:
    write_image(root / "images" / "s03.png", np.zeros((51, 61), np.uint8))


def _twice(root: Path) -> None:
    write_image(root / "images" / "s03.tif", np.zeros((51, 61, 3), np.uint8))


def _empty(root: Path) -> None:
    shutil.rmtree(root / "images")
    (root / "images").mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_mask, r"s03\.png has no mask s03"),
        (_size, r"s03\.png is 61 x 51 px and .*s03\.png is 7 x 5 px"),
        (_strange, r"mask .*s03\.png holds the value 7"),
        (_both, r"s03\.png holds both 1 and 255"),
        (_coloured, r"s03\.png is coloured"),
        (_damaged, r"s03\.png"),
        (_not_an_image, r"s03\.png can't be read as an image"),
        (_grey, r"s03\.png has 1 band and band 3 was declared"),
        (_twice, r"s03\.png and s03\.tif have the same name|s03.tif and s03.png"),
        (_empty, "holds no images"),
    ],
)
def test_what_contradicts_itself_is_named_before_training(folders: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(folders)
    with pytest.raises(DataError, match=reason) as caught:
        load_data(DataRequest(folders, seed=0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = ", "not TOML"),
        ("", r"must hold \[input\] and \[\[source\]\]"),
        ('[[sources]]\nname = "a"', "must hold"),
        ('[[source]]\nname = "a"', "lacks the field 'root'"),
        ('[[source]]\nname = "a"\nroot = "none"', "no folder"),
        (
            '[[source]]\nname = "a"\nroot = "scars"\ncolour = 1',
            "unknown field 'colour'; it may have name, root, layout, images,",
        ),
        ('[[source]]\nname = "a"\nroot = "scars"\nlayout = "zip"', "layout must be"),
        ('[[source]]\nname = "a"\nroot = "scars"\ntrain = ["s99"]', "no group 's99'"),
        ('[[source]]\nname = "a"\nroot = "scars"\ntrain = ["s01"]\ntest = ["s01"]', "'s01' is in two splits"),
        ('[[source]]\nname = "a"\nroot = "scars"\ntrain = ["s01"]\nfractions = [1, 0, 0]', "not by two of them"),
        ('[[source]]\nname = "a"\nroot = "scars"\nfractions = [0.5, 0.1, 0.1]', "add up to 1"),
        ('[[source]]\nname = "a"\nroot = "scars"\nwindows = { train = [0, 0, 999, 10] }', "does not lie in"),
        ('[[source]]\nname = "a"\nroot = "scars"\nindex = "no.csv"\ngroup = "g"', "no index"),
        ('[input]\npixel_type = "int64"\n[[source]]\nname = "a"\nroot = "scars"', "pixel_type"),
        ('[[source]]\nname = "a"\nroot = "scars"\n[[source]]\nname = "a"\nroot = "scars"', "same name"),
    ],
)
def test_a_data_file_that_does_not_fit_is_refused_with_the_reason(
    folders: Path, tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        load_data(DataRequest(write_data_file(tmp_path / "d.toml", text), seed=0))


def test_a_folder_of_no_known_layout_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither images/ and masks/ nor regions"):
        load_data(DataRequest(tmp_path, seed=0))
    with pytest.raises(DataError, match="no data file or folder"):
        load_data(DataRequest(tmp_path / "none.toml", seed=0))
