"""The data report as lines of text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from .data_report import DataReport, PartReport, PixelReport
from .findings import in_words

MOST_ROWS: Final = 40  # of groups; the JSON has all
MOST_PAIRS: Final = 10
MOST_KINDS: Final = 4  # of sizes


def lines_of(report: DataReport, *, brief: bool = False) -> Iterator[str]:
    """Yield the report, line by line.

    Args:
        report: it.
        brief: without the pairs of images that share ground beyond those that the warning names.
    """
    yield from _table(report.parts)
    for pixels in report.pixels:
        yield _pixel_line(pixels)
    if not brief:
        for shared in report.shared_ground[:MOST_PAIRS]:
            yield f"shared ground: {in_words(shared)}"
        if len(report.shared_ground) > MOST_PAIRS:
            yield f"shared ground: {len(report.shared_ground) - MOST_PAIRS} more pairs, which --json lists"
    for warning in report.warnings:
        yield f"warning: {warning}"
    for error in report.errors:
        yield f"error: {error}"


def _table(parts: tuple[PartReport, ...]) -> Iterator[str]:
    shown = parts[:MOST_ROWS]
    width = max(6, *(len(part.name) for part in shown), 6)
    yield f"{'split':<5}  {'source':<{width}}  images  with landslide  landslide px  m/px"
    for part in shown:
        yield (
            f"{part.split:<5}  {part.name:<{width}}  {part.images:>6}  {part.with_landslide:>14}  "
            f"{part.landslide_share:>12.2%}  {_metres(part.gsd_m)}"
        )
    if len(parts) > MOST_ROWS:
        yield f"{len(parts) - MOST_ROWS} more groups, which --json lists"


def _metres(gsd_m: tuple[float, float] | None) -> str:
    if gsd_m is None:
        return "unknown"
    finest, coarsest = (f"{metres:.3g}" for metres in gsd_m)
    return finest if finest == coarsest else f"{finest} to {coarsest}"


def _pixel_line(pixels: PixelReport) -> str:
    ranges = ", ".join(
        "no data" if low is None or high is None else f"{low:g} to {high:g}"
        for low, high in zip(pixels.low, pixels.high, strict=True)
    )
    return (
        f"{pixels.source}: {pixels.images} images of {_kinds(pixels.sizes)} px, {_kinds(pixels.pixel_types)}, "
        f"{_kinds(pixels.bands)} bands; red, green, blue {ranges}; without data {pixels.nodata_share:.2%}, "
        f"NaN or infinite {pixels.non_finite_px} px, beyond the declared range {pixels.beyond_px} px"
    )


def _kinds(counts: Mapping[str, int]) -> str:
    """Return the kinds with how many images are of each, where there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    first = ", ".join(f"{kind} ({count})" for kind, count in list(counts.items())[:MOST_KINDS])
    return first + (f" and {len(counts) - MOST_KINDS} more" if len(counts) > MOST_KINDS else "")
