"""What is known to go wrong with a graph on its way into an engine, as rules."""
