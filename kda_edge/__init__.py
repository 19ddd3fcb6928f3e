"""kda-edge: landslide segmentation from training to the field."""

__version__ = "0.1.0"
