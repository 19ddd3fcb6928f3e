"""Ground of a raster: where its pixels lie on Earth, how much they cover, and how large one is."""
