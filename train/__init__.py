"""`kda-train`: teaches students with the KDA method and judges them."""
