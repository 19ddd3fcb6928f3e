"""Streams of frames: files, cameras and addresses in, results out; of a live source the newest frame."""
