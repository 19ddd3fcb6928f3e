"""Training imagery: declared, paired, split, checked, and cut into crops."""
