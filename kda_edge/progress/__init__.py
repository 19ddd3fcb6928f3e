"""Progress of long work: what is done of how much, told by callbacks and shown as a bar or as lines."""
