"""OpenVINO itself, imported here and nowhere else."""

from tumorctl.extras import left_out

# OpenVINO reports to its makers that it was imported, and keeps an identifier in the home folder, unless the package
# for that is absent. Nothing of this project sends anything anywhere.
with left_out("openvino_telemetry"):
    import openvino
    from openvino import opset13, properties

VERSION: str = openvino.__version__

__all__ = ["VERSION", "openvino", "opset13", "properties"]
