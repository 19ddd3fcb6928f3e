"""Rasters on Earth: GDAL read strictly, where pixels lie, how much ground they cover."""
