"""The three files of a map: GeoTIFF, polygons and picture, all of them or none."""
