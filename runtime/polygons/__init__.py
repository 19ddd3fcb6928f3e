"""Landslides as polygons: components, outlines and the files of them, while rows come in."""
