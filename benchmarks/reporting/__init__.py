"""One form for every result: JSON by a schema, a table for people, a plot."""
