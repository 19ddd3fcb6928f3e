"""Frames in, results out: files, cameras and addresses, the newest frame of a live source."""
