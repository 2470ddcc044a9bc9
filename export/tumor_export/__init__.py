"""From trained networks to what is served: ONNX, parity, manifest, model repository."""
