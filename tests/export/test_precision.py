"""The shipped networks and small ones in each precision, in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tumor_export.agreement import onnx_runtime
from tumor_export.arithmetic import EnginePrecision
from tumor_export.precision import expected_types, prepare_graph, read_graph, to_fp16, to_fp32
from tumorctl.config import bundled_repository
from tumorctl.contract import IMAGE, NETWORKS
from tumorctl.errors import InvalidInput, ModelError
from tumorctl.manifest import read_manifest

Images = npt.NDArray[np.uint8]


def shipped(network: str) -> Path:
    return read_manifest(bundled_repository()).onnx_path(network)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(EnginePrecision.fp32, 1e-5), (EnginePrecision.fp16, 1e-2), (EnginePrecision.int8, 0.3)],
)
def test_a_shipped_network_keeps_its_answers(
    network: str, precision: EnginePrecision, tolerance: float, phantoms: Images, tmp_path: Path
) -> None:
    prepare_graph(shipped(network), tmp_path / "made.onnx", precision, phantoms[:4])
    model = onnx.load(tmp_path / "made.onnx")
    assert set(expected_types(model).values()) == {precision.value}
    wanted, got = (onnx_runtime(path)(phantoms[[0, 3]]) for path in (shipped(network), tmp_path / "made.onnx"))
    assert np.abs(wanted - got).max() <= tolerance
    assert np.abs(wanted - got).mean() <= tolerance / 10


@pytest.mark.parametrize("network", NETWORKS)
def test_tensorrt_finds_the_image_where_it_takes_bytes(network: str) -> None:
    """TensorRT takes uint8 at a network's input and only casts it there; and no index is computed."""
    graph = to_fp32(read_graph(shipped(network))).graph
    assert [node.op_type for node in graph.node if IMAGE in node.input] == ["Cast"]
    assert not {"Shape", "Range", "Gather"} & {node.op_type for node in graph.node}
    assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer)


@pytest.mark.parametrize("network", NETWORKS)
def test_half_precision_begins_and_ends_with_the_convolutions(network: str) -> None:
    """Neither normalisation nor probabilities are rounded, and nothing is cast in between."""
    single = to_fp32(read_graph(shipped(network)))
    model = onnx.shape_inference.infer_shapes(to_fp16(single), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]}
    read_in = {node.op_type: types[node.input[0]] for node in model.graph.node if node.input[0] in types}
    assert read_in["Conv"] == TensorProto.FLOAT16
    for operator in ("Div", "Sub", "Sigmoid", "ReduceMean", "Gemm"):
        assert read_in.get(operator, TensorProto.FLOAT) == TensorProto.FLOAT, operator
    for operator in ("Relu", "Resize", "Concat"):
        assert read_in.get(operator, TensorProto.FLOAT16) in (TensorProto.FLOAT16, TensorProto.FLOAT)
    added = sum(node.op_type == "Cast" for node in model.graph.node) - 1
    assert 2 <= added <= 4


def test_int8_scales_are_as_tensorrt_wants_them(phantoms: Images, tmp_path: Path) -> None:
    """Symmetric, per output channel for weights, and on nothing but what convolutions read."""
    prepare_graph(shipped(NETWORKS[0]), tmp_path / "made.onnx", EnginePrecision.int8, phantoms[:4])
    graph = onnx.load(tmp_path / "made.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions:
        reads, weights = (producers[name] for name in node.input[:2])
        assert (reads.op_type, weights.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert constants[reads.input[1]].shape == ()
        assert constants[weights.input[1]].shape == constants[producers[weights.input[0]].input[0]].shape[:1]
        for pair in (reads, weights):
            assert constants[pair.input[2]].dtype == np.int8
            assert not constants[pair.input[2]].any()
        assert node.input[2] in constants  # a bias in single precision
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["QuantizeLinear"] <= 2 * len(convolutions)


def test_int8_needs_slices(tmp_path: Path) -> None:
    for nothing in (None, np.empty((0, 256, 256, 3), np.uint8)):
        with pytest.raises(InvalidInput, match="needs development slices"):
            prepare_graph(shipped(NETWORKS[0]), tmp_path / "made.onnx", EnginePrecision.int8, nothing)
    assert not (tmp_path / "made.onnx").exists()


def test_weights_too_large_for_half_precision_are_refused() -> None:
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 1, 4, 4])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 1, 4, 4])
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), 1e5, np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("Conv", [IMAGE, "weight"], ["answer"])], "g", [image], [answer], [weight]
    )
    with pytest.raises(ModelError, match="weight has values too large for half precision: use fp32"):
        to_fp16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


def test_what_is_no_network_is_a_typed_error(tmp_path: Path) -> None:
    for content in (None, b"not ONNX"):
        path = tmp_path / "model.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match="is not an ONNX file"):
            read_graph(path)
    with pytest.raises(ModelError, match="cannot be run"):
        onnx_runtime(tmp_path / "model.onnx")


def test_only_numbers_are_cast(tmp_path: Path) -> None:
    """A size that is computed between two convolutions stays a size."""
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["batch", 1, 8, 8])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", 1, 8, 8])
    one = numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "one")
    nodes = [
        helper.make_node("Conv", [IMAGE, "one"], ["a"]),
        helper.make_node("Shape", [IMAGE], ["size_outside"]),
        helper.make_node("Shape", ["a"], ["size_between"]),
        helper.make_node("Reshape", ["a", "size_between"], ["b"]),
        helper.make_node("Reshape", ["b", "size_outside"], ["c"]),
        helper.make_node("Conv", ["c", "one"], ["d"]),
        helper.make_node("Reshape", ["d", "size_between"], ["answer"]),
    ]
    graph = helper.make_graph(nodes, "graph", [image], [answer], [one])
    made = to_fp16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
    onnx.checker.check_model(made, full_check=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {IMAGE: np.ones((2, 1, 8, 8), np.float32)})
    assert np.array_equal(got, np.full((2, 1, 8, 8), 0.25, np.float32))
    assert [node.op_type for node in made.graph.node].count("Cast") == 2
