"""Raster files read strictly: where they hold data, what of them is damaged, and what GDAL says meanwhile."""
