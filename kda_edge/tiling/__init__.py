"""From pixels to probability, tile by tile: the one way for training and runtime. No torch."""
