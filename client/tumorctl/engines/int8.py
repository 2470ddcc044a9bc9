"""8 bit arithmetic for OpenVINO, made from a network in single precision when it is loaded.

What int8 needs beside the weights is the range of what each convolution reads. The manifest keeps it, measured by the
export on development slices; a second file for each network is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tumorctl.engines.runtime import openvino, opset13
from tumorctl.errors import ModelError

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest value by the name of the tensor, as the ONNX graph names it."""

_LEVELS = 256
_WEIGHT_LEVELS = 255


def quantise(model: openvino.Model, ranges: Ranges) -> None:
    """Round what each convolution reads to 8 bits, in place; OpenVINO then computes it in int8.

    Inputs that are never negative take all 256 levels from 0; others, and weights by output channel, are symmetric
    about 0 (Jacob et al. 2018).

    Args:
        model: read from ONNX, in single precision.
        ranges: of the input of every convolution.

    Raises:
        ModelError: a range is missing, or the weights of a convolution are not constant.
    """
    rounded: dict[str, openvino.Output] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        source = node.input_value(0)
        name = next((name for name in sorted(source.get_names()) if name in ranges), None)
        if name is None:
            raise ModelError("the manifest lacks the int8 range of a convolution: export the networks again")
        if name not in rounded:
            rounded[name] = _fake_quantise(source, *_limits(*ranges[name]), _LEVELS)
        node.input(0).replace_source_output(rounded[name])
        weights = _weights(node)
        limit = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
        node.input(1).replace_source_output(
            _fake_quantise(opset13.constant(weights).output(0), -limit, limit, _WEIGHT_LEVELS)
        )
    model.validate_nodes_and_infer_types()


def _limits(least: float, greatest: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if least < 0:
        greatest = max(greatest, -least)
        least = -greatest * 128 / 127  # so that zero is one of the levels
    else:
        least = 0.0
    shape = (1, 1, 1, 1)
    return np.full(shape, least, np.float32), np.full(shape, max(greatest, 1e-6), np.float32)


def _fake_quantise(
    source: openvino.Output, least: npt.NDArray[np.float32], greatest: npt.NDArray[np.float32], levels: int
) -> openvino.Output:
    low, high = opset13.constant(least), opset13.constant(greatest)
    return opset13.fake_quantize(source, low, high, low, high, levels).output(0)


def _weights(convolution: openvino.Node) -> npt.NDArray[np.float32]:
    node = convolution.input_value(1).get_node()
    if node.get_type_name() == "Convert":  # stored in half precision
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        raise ModelError("the weights of a convolution are not constant: the network has no int8 form")
    return np.asarray(node.data, np.float32)
