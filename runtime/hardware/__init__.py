"""The hardware: cores that may really be used, the GPU behind the driver, its memory."""
