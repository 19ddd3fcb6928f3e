"""Results in one form: JSON by a schema, a table for people, a plot."""
