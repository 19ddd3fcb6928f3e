"""A video to two files: an overlay to look at and a JSON line a frame."""
