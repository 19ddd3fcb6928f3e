"""The command `kda-train masks`: what models map, as a figure; and the options that figures share."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kda_edge.errors import UsageError

from .options import add_data, data_request

if TYPE_CHECKING:
    from ..data.data_file import DataSet
    from ..data.sources import Sample
    from ..figures.landslide_window import Bounds


def add_masks(commands: Any) -> None:
    """Add the command to the parser's."""
    masks = commands.add_parser(
        "masks",
        help="masks of several checkpoints side by side, as PNG",
        description="Draw image, truth and each checkpoint's mask at its own threshold, errors coloured, with the IoU "
        "of each. Unless they are named, images are drawn at random among those with landslide, so that none is "
        "chosen for its looks; a large one is cut to a window around a random pixel of its landslide.",
    )
    add_data(masks)
    add = masks.add_argument
    add("--ckpt", type=Path, action="append", required=True, metavar="FILE", help="repeat for more columns")
    add("--name", action="append", metavar="NAME", help="of each --ckpt, in order; default: its path")
    add("--split", choices=("train", "val", "test"), default="test")
    choice = masks.add_mutually_exclusive_group()
    choice.add_argument("--images", nargs="+", metavar="STEM", help="these, by file name without ending, or GROUP/STEM")
    choice.add_argument("--count", type=int, default=4, help="how many are drawn at random; default 4")
    add("--draw-seed", type=int, default=0, help="of that draw (--seed is that of the splits)")
    add("--window-px", type=int, default=512, help="larger images are cut to this; default 512")
    add_output(masks)
    masks.set_defaults(run=_masks)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how large a figure is and where it goes."""
    add = parser.add_argument
    add("--panel-px", type=int, default=320, help="longest side of each picture in the figure; default 320")
    add("--device", default="auto")
    add("--out", type=Path, required=True, metavar="FILE", help="the figure, .png")
    add("--json", type=Path, metavar="FILE", help="write its figures there as well")


def require_output(options: argparse.Namespace) -> None:
    """Raise `UsageError` unless the figure can be written as the options say; before anything is computed."""
    from ..figures.panel_sheet import require_place

    require_place(options.out, ".png")
    if options.json:
        require_place(options.json, ".json")
    for name in ("panel_px", "window_px"):
        if not 32 <= getattr(options, name) <= 4096:
            raise UsageError(f"--{name.replace('_', '-')} must lie between 32 and 4096 px")


def require_distinct(names: list[str]) -> None:
    """Raise `UsageError` where two models have one name."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two models are called {name!r}; give each a name of its own")


def _masks(options: argparse.Namespace, command: str) -> None:
    from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
    from kda_edge.progress.progress_bar import ProgressBar

    from ..data.data_file import load_data
    from ..figures.landslide_window import sample_name
    from ..figures.mask_sheet import distinct_names, judge, mask_sheet, model_from_checkpoint, sample_row
    from ..figures.panel_sheet import write_png
    from ..loops.devices import resolve_device
    from ..loops.metric_reports import write_json

    require_output(options)
    if options.count < 1:
        raise UsageError("--count must be 1 or more")
    names = options.name or distinct_names(options.ckpt)
    if len(names) != len(options.ckpt):
        raise UsageError(f"give a --name for each --ckpt, {len(options.ckpt)}, not {len(names)}")
    require_distinct(names)
    device = resolve_device(options.device)
    checkpoints = [read_checkpoint(path) for path in options.ckpt]
    data = load_data(data_request(options))
    models = [
        model_from_checkpoint(name, file, checkpoint, data.input)
        for name, file, checkpoint in zip(names, options.ckpt, checkpoints, strict=True)
    ]
    for checkpoint in checkpoints:
        checkpoint.student.to(device)
    rows, records = [], []
    chosen = _chosen(options, data)
    with ProgressBar() as progress:
        for done, (sample, window) in enumerate(chosen, start=1):
            judged = [(model, judge(model, sample, data.input, window, device)) for model in models]
            rows.append(sample_row(sample, data.input, window, judged, options.panel_px))
            records.append(
                {
                    "image": sample_name(sample),
                    "source": sample.source.name,
                    "window_ltrb": list(window),
                    "models": {
                        model.name: {"shown": one.shown.as_dict(), "whole": one.whole.as_dict()}
                        for model, one in judged
                    },
                }
            )
            progress("images", done, len(chosen))
    how = f"drawn at random from those of the {options.split} split with landslide (seed {options.draw_seed})"
    write_png(options.out, mask_sheet(rows, [f"Images: {'named by hand' if options.images else how}."]))
    if options.json:
        write_json(
            options.json,
            {
                "command": command,
                "split": options.split,
                "drawn_at_random": not options.images,
                "checkpoints": {
                    model.name: {
                        "file": str(model.file),
                        "sha256": weights_digest(model.checkpoint.student),
                        "threshold": model.checkpoint.threshold,
                        "tile_px": model.checkpoint.tile_px,
                    }
                    for model in models
                },
                "images": records,
            },
        )
    print(options.out)


def _chosen(options: argparse.Namespace, data: DataSet) -> list[tuple[Sample, Bounds]]:
    """Return the images that are shown, each with its window."""
    import numpy as np

    from ..figures.landslide_window import drawn_samples, named_samples, window_of

    samples = data.samples[options.split]
    if not samples:
        raise UsageError(f"no samples are in the {options.split} split of {options.data}")
    rng = np.random.default_rng(options.draw_seed)
    if options.images:
        named = named_samples(samples, options.images)
        return [(sample, window_of(sample, data, options.window_px, rng)) for sample in named]
    drawn = drawn_samples(samples, data, options.count, options.window_px, rng)
    if len(drawn) < options.count:
        logging.info("only %d images of the %s split show landslide", len(drawn), options.split)
    return drawn
