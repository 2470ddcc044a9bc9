"""Small networks with the served ones' names, shapes and kinds of layers, which take no time to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tumor_export.phantoms import phantom_study
from tumor_export.ranges import measure_ranges
from tumor_export.repository import copy_skeleton, install_networks, write_manifest, write_thresholds
from tumor_training.calibrate import Scale
from tumor_training.splits import read_split
from tumorctl.config import bundled_skeleton
from tumorctl.contract import CLASSIFIER, IMAGE, MASK_PROBABILITY, NETWORKS, TUMOR_PROBABILITY

BETWEEN = 0.1455
"""A gate threshold between what the small classifier says of made-up slices with tumour and of those without."""


def small_network(network: str) -> onnx.ModelProto:
    """A network that says how bright the FLAIR is, by three convolutions and what surrounds them.

    As the exporter writes it: the image is turned and cast, large weights are in half precision with a Cast behind.
    """
    random = np.random.default_rng(3)
    first = np.abs(random.normal(0, 0.02, (16, 3, 4, 4))).astype(np.float32)
    first[:, [0, 2]] = 0
    initializers = {
        "scale": np.float32(255),
        "mean": np.full((1, 3, 1, 1), 0.35, np.float32),
        "first_half": first.astype(np.float16),
        "first_bias": np.zeros(16, np.float32),
        "middle": np.abs(random.normal(0, 0.1, (16, 16, 3, 3))).astype(np.float32),
        "middle_bias": np.zeros(16, np.float32),
        "last": np.abs(random.normal(0, 0.3, (1, 16, 1, 1))).astype(np.float32),
        "last_bias": np.array([-2], np.float32),
        "pixels": np.array([2, 3], np.int64),
        "one": np.array([1], np.int64),
        "scales": np.array([1, 1, 4, 4], np.float32),
        "flat": np.array([-1], np.int64),
        "zero": np.int64(0),
        "step": np.int64(1),
        "row": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Shape", [IMAGE], ["size"], start=0, end=1),
        helper.make_node("Squeeze", ["size"], ["batch"]),
        helper.make_node("Transpose", [IMAGE], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["single", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "mean"], ["normal"]),
        helper.make_node("Cast", ["first_half"], ["first"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["normal", "first", "first_bias"], ["a"], "first_conv", strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "middle", "middle_bias"], ["c"], "middle_conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"]),
    ]
    shape: list[str | int | None]
    if network == CLASSIFIER:
        output, shape = TUMOR_PROBABILITY, ["batch", 1]
        nodes += [
            helper.make_node("Conv", ["d", "last", "last_bias"], ["e"], "last_conv"),
            helper.make_node("ReduceMean", ["e", "pixels"], ["f"], keepdims=1),
            helper.make_node("Reshape", ["f", "flat"], ["g"]),
            helper.make_node("Range", ["zero", "batch", "step"], ["places"]),
            helper.make_node("Gather", ["g", "places"], ["h"], axis=0),
            helper.make_node("Reshape", ["h", "row"], ["i"]),
            helper.make_node("Sigmoid", ["i"], [output]),
        ]
    else:
        output, shape = MASK_PROBABILITY, ["batch", 256, 256]
        nodes += [
            helper.make_node("Resize", ["d", "", "scales"], ["e"], mode="nearest"),
            helper.make_node("Conv", ["e", "last", "last_bias"], ["f"], "last_conv"),
            helper.make_node("Sigmoid", ["f"], ["g"]),
            helper.make_node("Squeeze", ["g", "one"], [output]),
        ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        network,
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", 256, 256, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_small_repository(folder: Path, gate_threshold: float = 0.5) -> Path:
    """A whole model repository with the small networks; 0.5 lets no brain through, see `BETWEEN`."""
    repository = folder / "small"
    copy_skeleton(bundled_skeleton(), repository)
    paths = {name: folder / f"{name}.onnx" for name in NETWORKS}
    for name, path in paths.items():
        onnx.save(small_network(name), path)
    ranges = {name: measure_ranges(path, phantom_study(0, tumor=True)) for name, path in paths.items()}
    install_networks(repository, 1, paths)
    write_thresholds(repository, 1, gate_threshold, 0.5)
    write_manifest(
        repository,
        1,
        thresholds={"gate": gate_threshold, "mask": 0.5},
        scale=Scale(),
        split={"sha256": read_split().digest, "fold": 0},
        metrics={},
        parity={name: {} for name in NETWORKS},
        int8_ranges=ranges,
        tools={},
        mirror=False,
        training={},
    )
    return repository
