"""The command `kda-train rasterise`: masks from polygons of COCO, LabelMe or a GIS."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import UsageError

NO_PLACE: Final = (".json",)  # polygons in pixels of images; everything else lies on the ground


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    rasterise = commands.add_parser(
        "rasterise",
        help="masks from polygons: COCO, LabelMe, or a GeoPackage over scenes",
        description="Write a mask for each image that a COCO file or LabelMe's files annotate (PNG), or for each scene "
        "below the polygons of a GeoPackage (GeoTIFF): 1 where the centre of a pixel lies in a landslide, else 0. "
        "Everything is checked before the first mask is written.",
    )
    add = rasterise.add_argument
    add(
        "polygons",
        type=Path,
        metavar="POLYGONS",
        help="COCO file, LabelMe file or folder of them; or GeoPackage, or another file of polygons that GDAL reads",
    )
    add("--images", type=Path, required=True, metavar="DIR", help="folder of the images or scenes; or one scene")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the masks")
    add("--landslide", nargs="+", default=(), metavar="LABEL", help="labels that mean landslide; default: the only one")
    add("--layer", metavar="NAME", help="of a file with several layers")
    add("--field", metavar="NAME", help="of a layer, whose values are the labels; default: all mean landslide")
    rasterise.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Rasterise as the options say."""
    from kda_edge.paths import is_dir
    from kda_edge.progress.progress_bar import ProgressBar

    from ..annotations.mask_files import plan_of_images, plan_of_scenes, read_annotations, write_masks
    from ..annotations.vector_layer import read_layer
    from ..loops.output_places import require_folder

    del command
    require_folder(options.out, "--out")
    if is_dir(options.polygons) or options.polygons.suffix.lower() in NO_PLACE:
        if options.layer or options.field:
            raise UsageError("--layer and --field are about a GeoPackage; leave them out with COCO and LabelMe")
        labelled = read_annotations(options.polygons)
        plan = plan_of_images(labelled, options.images, options.out, options.landslide, str(options.polygons))
    else:
        layer = read_layer(options.polygons, layer=options.layer, field=options.field)
        plan = plan_of_scenes(layer, options.images, options.out, options.landslide)
    with ProgressBar() as progress:
        written = write_masks(plan, progress)
    bare = [one.path.name for one, landslide_px in written if not landslide_px]
    if bare:
        logging.info("%d masks are background alone: %s", len(bare), ", ".join(bare[:3]))
    pixels = sum(one.width_px * one.height_px for one, _ in written)
    share = sum(landslide_px for _, landslide_px in written) / pixels
    polygons = sum(len(one.areas) for one, _ in written)
    print(f"{options.out}: {len(written)} masks, {polygons} polygons, {share:.2%} landslide")
