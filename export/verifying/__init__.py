"""A graph held to PyTorch: on tiles, on labels, and by the clock."""
