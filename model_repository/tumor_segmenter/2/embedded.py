"""How the embedded server runs this network: from model.onnx beside this file."""

from tumorctl.serving.model import OnnxModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
