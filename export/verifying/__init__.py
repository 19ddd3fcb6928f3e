"""Verification of a graph against PyTorch: on tiles, on labels, and by the clock."""
