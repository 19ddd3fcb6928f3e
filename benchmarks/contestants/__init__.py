"""Who can map a scene in a comparison, each in its own way, behind one protocol."""
