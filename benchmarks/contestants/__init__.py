"""Contestants of a comparison: ways to map a scene, behind one protocol."""
