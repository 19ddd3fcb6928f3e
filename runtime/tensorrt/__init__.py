"""TensorRT engines: built on this device, proven, kept, loaded and run."""
