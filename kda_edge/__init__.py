"""kda-edge: landslide segmentation from training to the field."""

import os

__version__ = "0.1.0"

# Official builds of ONNX Runtime report to their makers and keep an identifier in the user's cache, unless told before
# they are loaded. Whoever has set the variable has decided for himself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
