"""Configuration files: settings read for `--config`, and those of a run written into its folder."""
