"""Training with all imagery in the memory of a card: packed sets, crops cut and varied there, teachers and students."""
