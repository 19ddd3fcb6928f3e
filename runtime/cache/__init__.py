"""Files that engines leave on this machine for the next time: whole, and of this user's own making."""
