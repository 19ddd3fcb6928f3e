"""Inference engines of ONNX Runtime and OpenVINO: the model file that they open, and the choice between them."""
