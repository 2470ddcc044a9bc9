"""TensorRT engines: from the served ONNX files to ``model_sm90.plan``, checked, in the model repository."""
