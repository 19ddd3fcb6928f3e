"""Runs over one scene or a shard of it: the request, the journal, going on after a stop, merging, memory."""
