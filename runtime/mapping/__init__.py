"""From pixels to rows of a map: reading, inference and bytes, all at once and bounded."""
