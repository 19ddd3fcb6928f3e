"""Images that show the same ground, found by what they show: copies, turned ones, and tiles that overlap.

Keypoints of two images with nearly equal codes vote for the shift between the images. Where several agree, the shift
is verified: both thumbnails must correlate over the area that the images then share. So are found copies in another
format, brightness or crop, copies turned by quarters or mirrored, and tiles that share a quarter or more. Not found are
the same ground in another season, light or resolution, tiles that only touch, and images without texture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .keypoints import TURNS, Keypoints

BITS: Final = 64
WORDS: Final = 3  # of a code, about 21 bits each: two codes are compared if they have one in common
MOST_ALIKE: Final = 64  # codes with one word in common, beyond which it is commonplace and tells nothing
DIFFERENT_BITS: Final = 8  # of two codes that count as equal, at most
VOTES: Final = 4  # keypoints that agree on a shift, at least
AGREE_PX: Final = 2.0
# Of the thumbnails over the shared area, at least. Different beaches of AID reach 0.95; of the pairs in Bijie that are
# found, the least has 0.99.
CORRELATION: Final = 0.97
CONTRAST: Final = 4.0  # standard deviation of a thumbnail there, grey levels of 255, at least
SAMPLES: Final = 32  # each way, over the shared area
CODES_A_BLOCK: Final = 65_536

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SharedContent:
    """Two images that show the same ground.

    Attributes:
        first: index of the one.
        second: index of the other, in its own list.
        share: of the smaller image that both show, 0 to 1.
        correlation: of the two over what both show, -1 to 1.
        turned: quarter turns, anticlockwise, by which the second becomes like the first.
        mirrored: whether it must be mirrored before.
    """

    first: int
    second: int
    share: float
    correlation: float
    turned: int
    mirrored: bool


def shared_content(first: Sequence[Keypoints], second: Sequence[Keypoints]) -> list[SharedContent]:
    """Return the pairs, one of each list, that show the same ground; each pair once, by its largest shared area.

    Time and memory grow with the number of keypoints, not of pairs.
    """
    best: dict[tuple[int, int], SharedContent] = {}
    words = _Words(first)
    for quarters, mirrored in TURNS:
        turned = [keypoints.turned(quarters, mirrored=mirrored) for keypoints in second]
        for i, j, shift in _agreeing(words, first, turned):
            share, correlation = _verified(first[i], turned[j], shift)
            found = SharedContent(i, j, share, correlation, quarters, mirrored)
            if correlation >= CORRELATION and ((i, j) not in best or share > best[i, j].share):
                best[i, j] = found
    return [best[pair] for pair in sorted(best)]


class _Words:
    """The codes of many images, sorted by each of their words."""

    def __init__(self, images: Sequence[Keypoints]) -> None:
        self.owner, self.codes = _all_codes(images)
        self._place = np.concatenate([[0], np.cumsum([len(image.codes) for image in images])]).astype(np.int64)
        self._order = [np.argsort(word, kind="stable") for word in _words_of(self.codes)]
        self._sorted = [word[order] for word, order in zip(_words_of(self.codes), self._order, strict=True)]

    def alike(self, codes: NDArray[np.uint64]) -> tuple[Indices, Indices]:
        """Return which of ours are nearly equal to which of `codes`, as two lists of indices."""
        ours, theirs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for word, order, ordered in zip(_words_of(codes), self._order, self._sorted, strict=True):
            begin = np.searchsorted(ordered, word, "left")
            count = np.searchsorted(ordered, word, "right") - begin
            count[count > MOST_ALIKE] = 0
            their = np.repeat(np.arange(len(codes)), count)
            within = np.arange(len(their)) - np.repeat(np.cumsum(count) - count, count)
            our = order[np.repeat(begin, count) + within]
            near = _different_bits(self.codes[our], codes[their]) <= DIFFERENT_BITS
            ours.append(our[near])
            theirs.append(their[near])
        both = np.unique(np.concatenate(ours) * len(codes) + np.concatenate(theirs))
        return both // len(codes), both % len(codes)

    def number(self, indices: Indices) -> Indices:
        """Return the number of keypoints within their image."""
        return indices - self._place[self.owner[indices]]


def _all_codes(images: Sequence[Keypoints]) -> tuple[Indices, NDArray[np.uint64]]:
    """Return the image that each code is of, and the codes."""
    owner = np.repeat(np.arange(len(images)), [len(image.codes) for image in images])
    return owner, np.concatenate([np.zeros(0, np.uint64), *(image.codes for image in images)])


def _words_of(codes: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Return the words of codes; each has every third bit, so that it speaks of the whole neighbourhood."""
    bits = np.unpackbits(codes.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    weights = np.left_shift(np.uint64(1), np.arange(BITS, dtype=np.uint64) // np.uint64(WORDS))
    return [(bits[:, word::WORDS] * weights[word::WORDS]).sum(axis=1, dtype=np.uint64) for word in range(WORDS)]


_ONES: Final = np.array([bin(value).count("1") for value in range(1 << 16)], np.int64)


def _different_bits(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
    words = np.ascontiguousarray(one ^ other).view(np.uint16).reshape(-1, 4)
    return np.asarray(_ONES[words[:, 0]] + _ONES[words[:, 1]] + _ONES[words[:, 2]] + _ONES[words[:, 3]])


def _agreeing(
    words: _Words, first: Sequence[Keypoints], second: Sequence[Keypoints]
) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """Yield pairs of images whose keypoints agree on a shift: rows and columns, first less second."""
    owner, codes = _all_codes(second)
    place = np.concatenate([[0], np.cumsum([len(image.codes) for image in second])]).astype(np.int64)
    begin = 0
    for images_end in range(1, len(second) + 1):  # by whole images, so that a pair's votes are together
        if place[images_end] - begin < CODES_A_BLOCK and images_end < len(second):
            continue
        ours, theirs = words.alike(codes[begin : place[images_end]])
        theirs = theirs + begin
        begin = int(place[images_end])
        pair = words.owner[ours] * len(second) + owner[theirs]
        pairs, votes = np.unique(pair, return_counts=True)
        order = np.argsort(pair, kind="stable")
        ends = np.cumsum(votes)
        for number in np.flatnonzero(votes >= VOTES):
            chosen = order[ends[number] - votes[number] : ends[number]]
            i, j = divmod(int(pairs[number]), len(second))
            a, b = words.number(ours[chosen]), theirs[chosen] - place[j]
            shifts = np.stack([first[i].rows[a] - second[j].rows[b], first[i].cols[a] - second[j].cols[b]], axis=1)
            shift = _most_agreed(shifts, a, b)
            if shift is not None:
                yield i, j, shift


def _most_agreed(shifts: NDArray[np.int32], a: Indices, b: Indices) -> tuple[float, float] | None:
    """Return the shift that most keypoints agree on, each counted once; None: too few do."""
    near = (np.abs(shifts[:, None] - shifts[None]) <= AGREE_PX).all(axis=2)
    agreeing = near[int(near.sum(axis=1).argmax())]
    if min(len(set(a[agreeing].tolist())), len(set(b[agreeing].tolist()))) < VOTES:
        return None
    row, col = np.median(shifts[agreeing], axis=0).tolist()
    return row, col


def _verified(one: Keypoints, other: Keypoints, shift: tuple[float, float]) -> tuple[float, float]:
    """Return which share of the smaller image both show after a shift, and how they correlate there; 0 where flat."""
    top, left = max(0.0, shift[0]), max(0.0, shift[1])
    bottom = min(one.height_px, other.height_px + shift[0])
    right = min(one.width_px, other.width_px + shift[1])
    if bottom <= top or right <= left:
        return 0.0, 0.0
    smaller = min(one.height_px * one.width_px, other.height_px * other.width_px)
    share = (bottom - top) * (right - left) / smaller
    rows = top + (np.arange(SAMPLES) + 0.5) * (bottom - top) / SAMPLES
    cols = left + (np.arange(SAMPLES) + 0.5) * (right - left) / SAMPLES
    mine, theirs = _sampled(one, rows, cols), _sampled(other, rows - shift[0], cols - shift[1])
    if min(mine.std(), theirs.std()) < CONTRAST:
        return share, 0.0
    return share, float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1])


def _sampled(image: Keypoints, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a thumbnail's values at positions of the image, pixels from its upper left corner."""
    height, width = image.thumbnail.shape
    x, y = np.meshgrid(cols * width / image.width_px - 0.5, rows * height / image.height_px - 0.5)
    sampled = cv2.remap(
        image.thumbnail.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(sampled, np.float32)
