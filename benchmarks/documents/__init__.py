"""Measured figures into documents, so that no number is typed by hand."""
