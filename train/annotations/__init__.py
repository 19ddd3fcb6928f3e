"""Polygons drawn in COCO, LabelMe or a GIS, rasterised to masks that training reads."""
