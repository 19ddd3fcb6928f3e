"""Georeferencing: GDAL read strictly, where pixels lie on Earth, how much ground they cover."""
