"""Precision inside the ONNX graph: what a strongly typed TensorRT network computes is what its graph says.

TensorRT 11 knows no other way, and TensorRT 10.12 and later take the same graph. Needs neither PyTorch nor a GPU.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tumor_export.arithmetic import EnginePrecision
from tumorctl.contract import IMAGE
from tumorctl.errors import InvalidInput, ModelError

logger = logging.getLogger(__name__)

_IMAGE_FLOAT = "image_float"


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf raises its own kinds
        raise ModelError(f"{path} is not an ONNX file ({type(error).__name__})") from error


def prepare_graph(
    source: Path, target: Path, precision: EnginePrecision, calibration: npt.NDArray[np.uint8] | None = None
) -> None:
    """Write a network's graph in another precision.

    Args:
        source: the served ONNX file.
        target: where to.
        precision: of the result; input and output stay as they are.
        calibration: development slices for int8, uint8, shape (slice, 256, 256, 3).

    Raises:
        ModelError: the source cannot be read.
        InvalidInput: int8 without slices to calibrate on.
    """
    model = to_fp32(read_graph(source))
    if precision is EnginePrecision.fp16:
        model = to_fp16(model)
    elif precision is EnginePrecision.int8:
        if calibration is None or not len(calibration):
            raise InvalidInput("int8 needs development slices to calibrate on: name the data")
        model = to_int8(model, calibration)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A served graph in plain single precision, in a form that TensorRT reads.

    Weights stored in half precision become single; the image is cast once, first of all (TensorRT takes uint8 at a
    network's input and nowhere else).
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _widen_weights(made.graph)
    _cast_image_first(made.graph)
    _drop_unused(made.graph)
    del made.graph.value_info[:]
    return made


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A single precision graph that is in half precision from the first convolution to the last.

    What comes before (normalisation) and after (the sum over cells, what makes logits into probabilities) stays
    in single precision: it costs next to nothing, and rounding would show there. The common converters round between
    any two operators that they leave in single precision; this one casts where the precision changes, nowhere else.

    Args:
        model: as `to_fp32` makes it; not changed.

    Raises:
        ModelError: a weight is too large for half precision.
    """
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    graph = converted.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    between = _between_convolutions(graph)
    casts: dict[tuple[str, int], str] = {}
    nodes: list[onnx.NodeProto] = []

    def cast(name: str, kind: int) -> str:
        if (name, kind) not in casts:
            result = f"{name}_{'half' if kind == TensorProto.FLOAT16 else 'single'}"
            casts[name, kind] = result
            nodes.append(helper.make_node("Cast", [name], [result], name=f"cast_{result}", to=kind))
        return casts[name, kind]

    for node in graph.node:
        is_half = node.output[0] in between
        for place, name in enumerate(node.input):
            if is_half and name in constants:
                # A Resize keeps its scales, which are not data, in single precision.
                if node.op_type != "Resize" and constants[name].data_type == TensorProto.FLOAT:
                    node.input[place] = _halved(graph, constants[name])
            elif name in floats and is_half and name not in between:
                node.input[place] = cast(name, TensorProto.FLOAT16)
            elif name in floats and not is_half and name in between:
                node.input[place] = cast(name, TensorProto.FLOAT)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return converted


def to_int8(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    """A single precision graph whose convolutions take 8 bit inputs and weights: Q/DQ pairs as TensorRT wants them.

    Scales are symmetric, per output channel for weights; a convolution's output is left to the next one's input.

    Args:
        model: as `to_fp32` makes it; not changed.
        images: slices to calibrate on, uint8, shape (slice, 256, 256, 3).
    """
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    from tumor_export.ranges import SliceReader

    with tempfile.TemporaryDirectory(prefix="tumorctl-int8-") as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        inferred = onnx.shape_inference.infer_shapes(model)
        # Batch norms are folded and shapes known: what ONNX Runtime's own preparation would do is done.
        helper.set_model_props(
            inferred, {"onnx.quant.pre_process": "onnxruntime.quant", "onnx.infer": "onnxruntime.quant"}
        )
        onnx.save(inferred, source)
        quantize_static(
            source,
            target,
            SliceReader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        made = onnx.load(target)
    del made.graph.value_info[:]
    return made


def expected_types(model: onnx.ModelProto) -> dict[str, str]:
    """What each convolution of a graph computes in.

    Returns:
        By node name: ``fp32``, ``fp16`` or ``int8``.
    """
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = producers.get(node.input[1])
            if weight is not None and weight.op_type == "DequantizeLinear":
                found[node.name] = EnginePrecision.int8.value
            elif types.get(node.input[1]) == TensorProto.FLOAT16:
                found[node.name] = EnginePrecision.fp16.value
            else:
                found[node.name] = EnginePrecision.fp32.value
    return found


def _widen_weights(graph: onnx.GraphProto) -> None:
    """Replace half precision initializers and the Cast behind each by single precision ones."""
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in halves:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)


def _cast_image_first(graph: onnx.GraphProto) -> None:
    for node in list(graph.node):
        if node.op_type == "Cast" and _reads_only_pixels(graph, node.input[0]):
            _replace_uses(graph, node.output[0], node.input[0])
            graph.node.remove(node)
    _replace_uses(graph, IMAGE, _IMAGE_FLOAT)
    graph.node.insert(0, helper.make_node("Cast", [IMAGE], [_IMAGE_FLOAT], name="image_to_float", to=TensorProto.FLOAT))


def _reads_only_pixels(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a tensor is the image, or the image with its axes in another order."""
    while name != IMAGE:
        producer = next((node for node in graph.node if name in node.output), None)
        if producer is None or producer.op_type != "Transpose":
            return False
        name = producer.input[0]
    return True


def _between_convolutions(graph: onnx.GraphProto) -> set[str]:
    """Outputs of convolutions, and of what lies between two of them."""
    after, before = set[str](), set[str]()
    between = set[str]()
    for node in graph.node:
        if node.op_type == "Conv" or not after.isdisjoint(node.input):
            after.update(node.output)
    for node in reversed(graph.node):
        if node.op_type == "Conv" or (not before.isdisjoint(node.output) and node.output[0] in after):
            before.update(node.input)
            between.update(node.output)
    return between


def _halved(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> str:
    """The name of a half precision copy of an initializer."""
    name = f"{tensor.name}_half"
    if all(other.name != name for other in graph.initializer):
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise ModelError(f"{tensor.name} has values too large for half precision: use fp32")
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    wanted = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted.update(node.input)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in wanted]:
        graph.initializer.remove(tensor)


def _replace_uses(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        _rename(node.input, old, new)


def _rename(names: Iterable[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new  # type: ignore[index]
