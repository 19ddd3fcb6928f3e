"""Scenes: georeferenced rasters, checked against the model and read by windows."""
