"""`kda-export`: a checkpoint to one verified ONNX artifact."""
