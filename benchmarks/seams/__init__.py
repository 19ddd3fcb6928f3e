"""Seams: how much a map depends on where the tile grid lies, by overlap and by blend weights."""
