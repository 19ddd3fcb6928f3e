"""Tiled prediction, from pixels to probability: the one way for training and runtime. No torch."""
