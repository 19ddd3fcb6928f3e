"""ONNX graphs of a student, written in ways that engines compute well."""
