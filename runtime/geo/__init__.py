"""Rasters as the runtime opens them: GDAL read strictly, names of files and addresses."""
