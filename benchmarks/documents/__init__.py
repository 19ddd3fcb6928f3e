"""Tables of documents made from measured results, so that no number is typed by hand."""
