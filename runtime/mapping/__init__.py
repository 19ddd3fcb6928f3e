"""Rows of a map made from pixels: reading, inference and bytes, all at once and bounded."""
