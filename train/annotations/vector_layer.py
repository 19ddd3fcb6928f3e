"""A layer of polygons from a GIS: a GeoPackage, or whatever else GDAL reads as vectors, placed on scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from kda_edge.errors import DataError, MissingDependency, UsageError, one_line

from .areas import Area, Ring
from .wkb import polygons_of_wkb


@dataclass(frozen=True)
class VectorLayer:
    """Polygons of a layer in its own coordinates.

    Attributes:
        path: of the file.
        crs: of the coordinates.
        polygons: label and rings of each.
    """

    path: Path
    crs: CRS
    polygons: tuple[tuple[str, tuple[Ring, ...]], ...]

    def areas_on(self, crs: CRS, to_pixels: Any) -> list[Area]:
        """Return the polygons in pixels of a scene; corners are projected, edges are straight between them.

        Args:
            crs: of the scene.
            to_pixels: affine transform from the scene's coordinates to column and row.

        Raises:
            DataError: a corner has no place in the scene's CRS.
        """
        rings = [ring for _, own in self.polygons for ring in own]
        xs, ys = (tuple(point[axis] for ring in rings for point in ring) for axis in (0, 1))
        try:
            east, north = (xs, ys) if crs == self.crs else transform(self.crs, crs, xs, ys)
        except RasterioError as error:
            raise DataError(
                f"{self.path}: its polygons have no place in {crs} ({one_line(error)}); reproject the layer"
            ) from error
        a, b, c, d, e, f = tuple(to_pixels)[:6]
        points = iter([(a * x + b * y + c, d * x + e * y + f) for x, y in zip(east, north, strict=True)])
        return [Area(label, tuple(tuple(next(points) for _ in ring) for ring in own)) for label, own in self.polygons]


def read_layer(path: Path, *, layer: str | None = None, field: str | None = None) -> VectorLayer:
    """Read the polygons of a layer.

    Args:
        path: of the file.
        layer: its name; None: there is but one.
        field: whose values are the labels; None: all polygons have the label `landslide`.

    Raises:
        MissingDependency: pyogrio is not installed.
        UsageError: several layers and none named, no such layer, or no such field.
        DataError: it can't be read, has no CRS, or holds something else than polygons.
    """
    try:
        import pyogrio
        import pyogrio.raw
    except ModuleNotFoundError as error:
        raise MissingDependency("pyogrio", extra="train") from error
    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        name = _named(path, layers, layer)
        meta, _, shapes, values = pyogrio.raw.read(path, layer=name, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(f"{path} can't be read as polygons ({one_line(error)}); is it a GeoPackage?") from error
    fields = [str(one) for one in meta["fields"]]
    if field is not None and field not in fields:
        raise UsageError(f"{path} has no field {field!r}; it has {', '.join(fields) or 'none'}")
    labels: Sequence[object] = values[fields.index(field)] if field is not None else ["landslide"] * len(shapes)
    try:
        crs = CRS.from_user_input(meta["crs"] or "")
    except CRSError as error:
        raise DataError(f"{path} does not say in which CRS it is; assign one in a GIS") from error
    polygons = []
    for number, (shape, label) in enumerate(zip(shapes, labels, strict=True)):
        try:
            found = polygons_of_wkb(bytes(shape)) if shape is not None else []
        except DataError as error:
            raise DataError(f"{path}: in feature {number}, {error}") from error
        polygons += [(str(label), rings) for rings in found]
    return VectorLayer(path, crs, tuple(polygons))


def _named(path: Path, layers: list[str], layer: str | None) -> str:
    if layer is None and len(layers) != 1:
        raise UsageError(f"{path} has {len(layers)} layers, {', '.join(layers)}; name one with --layer")
    if layer is not None and layer not in layers:
        raise UsageError(f"{path} has no layer {layer!r}; it has {', '.join(layers)}")
    return layer or layers[0]
