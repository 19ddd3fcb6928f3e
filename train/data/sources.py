"""Sources and samples: what a data file says of one source of imagery, and one image of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kda_edge.errors import DataError

from .image_files import MaskRule

SPLITS: Final = ("train", "val", "test")
LAYOUTS: Final = ("folders", "cas", "scenes", "splits")


@dataclass(frozen=True)
class Source:
    """One data set of a data file.

    Attributes:
        name: what reports call it.
        root: folder, relative to the data file or to --data-root.
        layout: `folders`, `cas`, `scenes` (large GeoTIFFs, cut into random windows) or `splits` (`folders` once more in
            each of train, val and test, which are the groups).
        images: folder of images below the root, for `folders` and `scenes`.
        masks: folder of masks below the root; a mask may have another file format than its image. Empty: no masks;
            the source is for phase 1 alone, all its images are for train, and `images` is a folder that is searched
            to any depth, or one image.
        valid: folder of masks whose zeros are not judged; empty: none.
        bands: 1-based bands of red, green and blue.
        mask_landslide: values of a mask that mean landslide; empty: all but 0 and the ignored.
        mask_ignored: values of a mask that are not judged.
        index: CSV file with a row an image; empty: none.
        key: column of the index with the image's name without ending.
        group: column of the index with the group; without an index the group is the region (cas) or the name.
        train: groups to learn from.
        val: groups that choose the epoch and the threshold.
        test: groups that nothing is chosen by.
        fractions: random shares of train, val and test where no groups are named. Neighbouring tiles then leak.
        windows: for `scenes`: pixel bounds [left, top, right, bottom] by split, to divide one scene by area.
        licence: terms of its imagery, a few words; they go into the record of what learns from it.
        draws: random crops a file and epoch; 0: one an image, and for scenes as many as cover it once.
    """

    name: str
    root: str
    layout: str = "folders"
    images: str = "images"
    masks: str = "masks"
    valid: str = ""
    bands: tuple[int, int, int] = (1, 2, 3)
    mask_landslide: tuple[int, ...] = (1, 255)
    mask_ignored: tuple[int, ...] = ()
    index: str = ""
    key: str = "stem"
    group: str = ""
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    fractions: tuple[float, float, float] | None = None
    windows: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    licence: str = ""
    draws: int = 0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            listed = f"{', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}"
            raise DataError(f"source {self.name}: layout must be {listed}, not {self.layout!r}")
        by = [bool(self.train or self.val or self.test), self.fractions is not None, bool(self.windows)]
        if sum(by) > 1:
            raise DataError(f"source {self.name}: split by groups, by fractions or by windows, not by two of them")
        if self.fractions is not None and not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise DataError(f"source {self.name}: fractions of train, val and test must add up to 1")
        if self.layout == "splits" and (not self.masks or self.index or self.valid or any(by)):
            raise DataError(
                f"source {self.name}: its folders train, val and test are the splits; "
                "leave index, valid, train, val, test, fractions and windows out, and masks in"
            )
        if not self.masks and (self.layout == "cas" or self.index or self.valid or any(by)):
            raise DataError(
                f"source {self.name}: without masks all images are for train; "
                'leave layout = "cas", index, valid, train, val, test, fractions and windows out'
            )
        if set(self.windows) - set(SPLITS):
            raise DataError(f"source {self.name}: windows are named {', '.join(SPLITS)}")
        shared = [g for g in self.train if g in self.val or g in self.test] + [g for g in self.val if g in self.test]
        if shared:
            raise DataError(f"source {self.name}: group {shared[0]!r} is in two splits")

    @property
    def mask_rule(self) -> MaskRule:
        """What the values of its masks mean."""
        return MaskRule(self.mask_landslide, self.mask_ignored)


@dataclass(frozen=True)
class Sample:
    """One image or scene (or a part of a scene), with its mask if there is one.

    Attributes:
        source: where it comes from.
        group: what it is split and reported by.
        image: path.
        mask: path, or None: nothing is labelled.
        valid: path of the mask whose zeros are not judged, or None.
        window_ltrb: pixel bounds: left, top, right, bottom.
    """

    source: Source
    group: str
    image: Path
    mask: Path | None
    valid: Path | None
    window_ltrb: tuple[int, int, int, int]

    @property
    def height_px(self) -> int:
        """Rows."""
        return self.window_ltrb[3] - self.window_ltrb[1]

    @property
    def width_px(self) -> int:
        """Columns."""
        return self.window_ltrb[2] - self.window_ltrb[0]
