"""Tiles to verify and calibrate on: generated, cut from imagery, labelled."""
