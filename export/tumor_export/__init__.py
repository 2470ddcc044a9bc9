"""From trained networks to what is served: ONNX, precision, TensorRT engines, parity, manifest, model repository."""

import os

# ONNX Runtime's official builds report their use to Microsoft from Linux too, unless told before they are imported.
# Nothing of this project sends anything anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
