"""Images are ranked by what was mapped of them at the threshold, and none is shown twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kda_edge.metrics import ConfusionCounts, ProbabilityHistogram
from kda_edge.train.data.sources import Sample, Source
from kda_edge.train.run_report.image_scores import ImageScores, groups_worth_a_row

SIDE_PX = 20


def sample(stem: str, group: str = "", source: str = "slides") -> Sample:
    image = Path(f"{stem}.png")
    return Sample(Source(source, "r"), group or stem, image, image, None, (0, 0, SIDE_PX, SIDE_PX))


def scored(threshold: float, count: int = 9) -> tuple[ImageScores, dict[str, ConfusionCounts]]:
    """Images of random probability, every third without landslide, and their counts by hand."""
    rng = np.random.default_rng(count)
    scores, expected = ImageScores(threshold), {}
    for number in range(count):
        probability = rng.random((SIDE_PX, SIDE_PX), np.float32)
        truth = (rng.random((SIDE_PX, SIDE_PX)) < 0.3) & (number % 3 > 0)
        histogram = ProbabilityHistogram()
        histogram.add(probability, truth, np.ones_like(truth))
        scores.add(sample(f"i{number}"), histogram)
        claimed = probability >= np.float32(threshold)
        expected[f"i{number}"] = ConfusionCounts(
            *(int(one.sum()) for one in (claimed & truth, claimed & ~truth, ~claimed & truth, ~claimed & ~truth))
        )
    return scores, expected


def test_counts_of_images_are_exact_at_a_threshold_that_is_no_hundredth() -> None:
    scores, expected = scored(0.333)
    assert {one.image.stem: counts for one, counts in scores.at(0.333)} == expected
    assert (len(scores), scores.with_landslide()) == (9, 6)


def test_worst_and_best_are_those_with_the_lowest_and_highest_iou() -> None:
    scores, expected = scored(0.5)
    slides = sorted((stem for stem in expected if int(stem[1:]) % 3), key=lambda stem: expected[stem].iou)
    found = scores.ranked(0.5, 2)
    assert [one.image.stem for one, _ in found.worst] == slides[:2]
    assert [one.image.stem for one, _ in found.best] == slides[:-3:-1]
    bare = sorted((stem for stem in expected if not int(stem[1:]) % 3), key=lambda stem: -expected[stem].fp)
    assert [one.image.stem for one, _ in found.alarms] == bare[:2]


def test_an_image_is_not_among_the_best_and_the_worst_at_once() -> None:
    scores, _ = scored(0.5, count=5)
    found = scores.ranked(0.5, 4)
    shown = [one.image.stem for one, _ in (*found.worst, *found.best)]
    assert sorted(shown) == ["i1", "i2", "i4"]


def test_images_that_are_groups_of_their_own_have_no_rows() -> None:
    alone, counties = [sample("a"), sample("b")], [sample(stem, "ny", "bijie") for stem in "cd"]
    scene = [sample("e", "north", "ortho")]
    names = ["all", "slides", "slides/a", "slides/b", "bijie", "bijie/ny", "ortho/north"]
    assert groups_worth_a_row(names, [*alone, *counties, *scene]) == [
        *("all", "slides", "bijie", "bijie/ny", "ortho/north"),
    ]
