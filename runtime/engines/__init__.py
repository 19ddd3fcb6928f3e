"""A model file behind ONNX Runtime or OpenVINO, and the choice between what could run it."""
