"""The data report: every image and mask decoded once before training, with errors, warnings and shared ground."""
