"""FP16 and INT8 graphs made of float32 ones: which nodes, which ranges, which layers stay out."""
