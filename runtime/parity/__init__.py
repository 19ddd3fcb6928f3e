"""Parity of GPU engines: their answers held to ONNX Runtime's on the CPU, and the gather form of a graph."""
