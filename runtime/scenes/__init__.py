"""A georeferenced raster, checked against the model and read by windows."""
