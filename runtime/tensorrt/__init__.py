"""An engine built by TensorRT on this device: built, proven, kept, loaded and run."""
