"""The GPU kit: all that a machine without a package registry lacks, in parts with digests, and what installs it."""
