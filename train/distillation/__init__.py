"""Phase 1: a frozen vision model teaches the backbone; no labels."""
