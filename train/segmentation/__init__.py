"""Phase 2: learn to segment from images and masks, and how good that is."""
