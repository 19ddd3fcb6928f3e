"""A float32 graph in FP16 or INT8: which nodes, which ranges, which layers stay out."""
