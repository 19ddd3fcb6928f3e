"""The command `kda-train explain`: what models see, as a figure; `kda-train masks` is added along with it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kda_edge.errors import UsageError

from .masks import add_masks, add_output, require_distinct, require_output

if TYPE_CHECKING:
    import torch

    from kda_edge.manifest import InputContract

    from ..figures.compared_models import ComparedModel
    from ..figures.heat_sheet import HeatMap
    from ..figures.image_view import ImageView

METHODS = ("similarity", "gradcam")


def add_commands(commands: Any) -> None:
    """Add the commands to the parser's."""
    _add_explain(commands)
    add_masks(commands)


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain",
        help="heat maps of teacher and students over one image, as PNG",
        description="Draw where the features of each model resemble those of a landslide, or where the evidence for "
        "landslide lies, with figures of how well that tells the landslide from the rest. Each model sees the image "
        "with its own normalisation, its sides resized up to what it takes (multiples of 32 px, or of the patch).",
    )
    add = explain.add_argument
    add("--image", type=Path, required=True, metavar="FILE")
    place = explain.add_mutually_exclusive_group()
    place.add_argument("--mask", type=Path, metavar="FILE", help="where the landslide is; its values but 0")
    place.add_argument(
        "--at", type=int, nargs=2, metavar=("X", "Y"), help="column and row of a pixel, from 0, instead of a mask"
    )
    add("--mask-landslide", type=int, nargs="+", default=(), metavar="VALUE", help="only these mean landslide")
    add("--mask-ignored", type=int, nargs="+", default=(), metavar="VALUE", help="these are not judged")
    add("--bands", type=int, nargs=3, default=(1, 2, 3), metavar=("R", "G", "B"), help="of the image, from 1")
    add("--teacher", metavar="NAME", help="of timm, or `student`; its panel comes first")
    add("--teacher-weights", type=Path, metavar="FILE", help="its state dict; default: fetched by name")
    add(
        "--model",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="a distilled.pt or a checkpoint, and what to call it; repeat for more panels",
    )
    add(
        "--by",
        choices=METHODS,
        default="similarity",
        help="similarity: cosine of each position's feature (last map) and the landslide's mean, or the pixel's; "
        "gradcam: Grad-CAM (arXiv:1610.02391) of the mean landslide logit over the mask, the pixel, or else what "
        "each checkpoint maps itself",
    )
    add(
        "--centred",
        action="store_true",
        help="for similarity: subtract each map's mean feature first, which can hide all else; the JSON has both",
    )
    add("--stage", type=int, choices=(1, 2, 3, 4), default=4, help="of the encoder, for gradcam; default 4")
    add("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of the colours; default: what all maps span")
    add(
        "--window-px",
        type=int,
        default=1024,
        help="larger images are cut to this around --at or a random pixel of the landslide; default 1024",
    )
    add("--seed", type=int, default=0, help="of that random pixel")
    add_output(explain)
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace, command: str) -> None:
    from ..figures.compared_models import common_pixels, open_model
    from ..figures.heat_sheet import common_range, heat_sheet
    from ..figures.panel_sheet import write_png
    from ..loops.devices import resolve_device
    from ..loops.metric_reports import write_json

    require_output(options)
    similar = options.by == "similarity"
    if similar and options.mask is None and options.at is None:
        raise UsageError("similarity to what? name the landslide with --mask FILE or a pixel with --at X Y")
    if similar and options.stage != 4:
        raise UsageError("--stage is for --by gradcam; similarity is that of the last map")
    if options.centred and not similar:
        raise UsageError("--centred is for --by similarity")
    if options.teacher_weights and not options.teacher:
        raise UsageError("--teacher-weights needs --teacher NAME: which model are they of?")
    if min(options.bands) < 1:
        raise UsageError("--bands are counted from 1")
    if options.range and options.range[0] >= options.range[1]:
        raise UsageError("--range needs LOW below HIGH")
    device = resolve_device(options.device)
    models = [open_model(name, path).to(device) for name, path in _named_files(options.model)]
    view = _view(options, common_pixels(models))
    heats = _similarities(options, models, view, device) if similar else _gradcams(options, models, view)
    maps = [heat for _, heat in heats]
    low_high = tuple(options.range) if options.range else common_range(maps) if similar else (0.0, 1.0)
    meaning, notes = _words(options, view)
    figure = heat_sheet(
        view, options.image.name, maps, low_high, meaning=meaning, notes=notes, panel_px=options.panel_px
    )
    write_png(options.out, figure)
    if options.json:
        write_json(
            options.json,
            {
                "command": command,
                "by": options.by,
                "centred": options.centred if similar else None,
                "stage": None if similar else options.stage,
                "image": str(options.image),
                "mask": str(options.mask) if options.mask else None,
                "at_xy": options.at,
                "window_ltrb": list(view.window_ltrb),
                "colour_range": list(low_high),
                "models": [{**origin, **heat.figures()} for origin, heat in heats],
            },
        )
    for heat in maps:
        print(f"{heat.name}: {'; '.join(heat.captions())}")
    print(options.out)


def _named_files(models: list[str]) -> list[tuple[str, Path]]:
    named = []
    for model in models:
        name, _, file = model.partition("=")
        if not name or not file:
            raise UsageError(f"--model {model} must be NAME=FILE, such as kda=runs/kda/distilled.pt")
        named.append((name, Path(file)))
    require_distinct([name for name, _ in named])
    return named


def _view(options: argparse.Namespace, contract: InputContract) -> ImageView:
    import numpy as np

    from ..data.sources import Sample, Source
    from ..figures.image_view import read_view

    source = Source(
        "image",
        "",
        bands=tuple(options.bands),
        mask_landslide=tuple(options.mask_landslide),
        mask_ignored=tuple(options.mask_ignored),
    )
    return read_view(
        Sample(source, "image", options.image, options.mask, None, (0, 0, 0, 0)),
        contract,
        at_xy=options.at and tuple(options.at),
        side_px=options.window_px,
        rng=np.random.default_rng(options.seed),
    )


def _similarities(
    options: argparse.Namespace, models: list[ComparedModel], view: ImageView, device: torch.device
) -> list[tuple[dict[str, Any], HeatMap]]:
    from ..distillation.frozen_backbones import open_backbone
    from ..figures.heat_sheet import similarity_heat

    heats = []
    if options.teacher:
        teacher = open_backbone(options.teacher, weights=options.teacher_weights).to(device)
        file = str(options.teacher_weights) if options.teacher_weights else None
        origin = {"kind": "teacher", "file": file, "sha256": teacher.digest()}
        heats.append((origin, similarity_heat(f"teacher: {teacher.name}", teacher, view, centre=options.centred)))
    return heats + [
        (_origin(one), similarity_heat(one.name, one.backbone, view, centre=options.centred)) for one in models
    ]


def _gradcams(
    options: argparse.Namespace, models: list[ComparedModel], view: ImageView
) -> list[tuple[dict[str, Any], HeatMap]]:
    from ..figures.heat_sheet import gradcam_heat

    able = [model for model in models if model.network is not None]
    if not able:
        raise UsageError(
            "Grad-CAM needs a checkpoint that segments, and these are backbones alone; use --by similarity"
        )
    left_out = ["the teacher"] if options.teacher else []
    left_out += [model.name for model in models if model.network is None]
    if left_out:
        logging.info("left out, for it maps no landslide: %s", ", ".join(left_out))
    return [(_origin(one), gradcam_heat(one, view, options.stage)) for one in able]


def _origin(model: ComparedModel) -> dict[str, Any]:
    return {"kind": model.kind, "file": str(model.file), "sha256": model.backbone.digest()}


def _words(options: argparse.Namespace, view: ImageView) -> tuple[str, list[str]]:
    """Return what the colours mean, and the notes below the figure."""
    place = "the pixel at the cross" if view.at_xy else "the landslide (outlined)" if view.landslide.any() else ""
    notes = []
    if options.by == "similarity":
        reference = "the feature at the cross" if view.at_xy else "the mean feature of the outlined landslide"
        meaning = f"cosine similarity to {reference}"
        if options.centred:
            meaning += ", centred"
        notes.append("Last map of each encoder.")
        if options.centred or view.landslide.any():
            notes[0] += " Centred: of the features without their mean over the image."
    else:
        meaning = "share of each map's largest value"
        target = place or "what each model itself maps as landslide"
        notes.append(
            f"Grad-CAM (arXiv:1610.02391, Eq. 1-2) at stage {options.stage} of the encoder, of the mean landslide "
            f"logit over {target}."
        )
    if view.landslide.any():
        notes.append(
            "Inside, outside: means over the landslide and the rest. AUC: chance that a pixel of the landslide has a "
            "higher value than one of the rest; 0.5: no better than a coin."
        )
    return meaning, notes
