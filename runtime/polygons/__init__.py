"""Landslide polygons, written while rows come in: connected components, outlines, GeoJSON and GeoPackage."""
