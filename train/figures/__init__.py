"""Figures for people: heat maps and masks of several models side by side."""
