"""A student as an ONNX graph, and the ways to write it that engines compute well."""
