"""Pixels of imagery to verify and calibrate on: cut from rasters, drawn by strata, labelled."""
