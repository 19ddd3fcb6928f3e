"""The GPU report's parts that train: a step, both phases, resuming, and a student, by `kda-train` itself."""
