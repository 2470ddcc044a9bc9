from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tumorctl.config import bundled_repository
from tumorctl.contract import (
    CLASSIFIER,
    ENSEMBLE,
    GATE,
    IMAGE,
    MASK,
    MASK_PROBABILITY,
    MAX_BATCH_SIZE,
    MODELS,
    NETWORKS,
    SEGMENTED,
    SEGMENTER,
    SIDE,
    TUMOR_PROBABILITY,
)
from tumorctl.manifest import read_manifest

REPOSITORY = bundled_repository()
RUNTIMES = ("config.pbtxt", "configs/onnxruntime.pbtxt", "configs/embedded.pbtxt")
IMAGE_TENSOR = (IMAGE, "TYPE_UINT8", [SIDE, SIDE, 3])
PROBABILITY_TENSOR = (TUMOR_PROBABILITY, "TYPE_FP32", [1])
SEGMENTED_TENSOR = (SEGMENTED, "TYPE_BOOL", [1])
MASK_TENSOR = (MASK, "TYPE_UINT8", [SIDE, SIDE])
TENSORS: dict[str, tuple[list[tuple[str, str, list[int]]], list[tuple[str, str, list[int]]]]] = {
    ENSEMBLE: ([IMAGE_TENSOR], [PROBABILITY_TENSOR, SEGMENTED_TENSOR, MASK_TENSOR]),
    CLASSIFIER: ([IMAGE_TENSOR], [PROBABILITY_TENSOR]),
    GATE: ([IMAGE_TENSOR, PROBABILITY_TENSOR], [SEGMENTED_TENSOR, MASK_TENSOR]),
    SEGMENTER: ([IMAGE_TENSOR], [(MASK_PROBABILITY, "TYPE_FP32", [SIDE, SIDE])]),
}


def configuration(model: str, runtime: str) -> Any:
    return text_format.Parse((REPOSITORY / model / runtime).read_text("utf-8"), ModelConfig())


def tensors(fields: Any) -> list[tuple[str, str, list[int]]]:
    from tritonclient.grpc import model_config_pb2

    return [(field.name, model_config_pb2.DataType.Name(field.data_type), list(field.dims)) for field in fields]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_tensors_are_those_of_the_contract(model: str, runtime: str) -> None:
    config = configuration(model, runtime)
    assert config.name == model
    assert config.max_batch_size == MAX_BATCH_SIZE
    assert (tensors(config.input), tensors(config.output)) == TENSORS[model]


@pytest.mark.parametrize("network", NETWORKS)
def test_each_runtime_serves_its_own_file(network: str) -> None:
    engine, onnx_runtime, embedded = (configuration(network, runtime) for runtime in RUNTIMES)
    assert (engine.platform, engine.default_model_filename) == ("tensorrt_plan", "model.plan")
    assert (onnx_runtime.platform, onnx_runtime.default_model_filename) == ("onnxruntime_onnx", "model.onnx")
    assert (embedded.backend, embedded.default_model_filename) == ("python", "embedded.py")
    for config in (engine, onnx_runtime, embedded):
        assert config.HasField("dynamic_batching")
        assert config.model_warmup


@pytest.mark.parametrize("model", [ENSEMBLE, GATE])
def test_what_does_not_depend_on_the_runtime_is_the_same_in_each(model: str) -> None:
    first, *others = (configuration(model, runtime) for runtime in RUNTIMES)
    assert all(other == first for other in others)


def test_the_gate_gathers_in_one_process() -> None:
    config = configuration(GATE, "config.pbtxt")
    assert config.HasField("dynamic_batching")
    assert [group.count for group in config.instance_group] == [1]


def test_thresholds_and_digests_are_the_same_in_gate_and_manifest() -> None:
    manifest = read_manifest(REPOSITORY)
    manifest.verify()
    parameters = {key: value.string_value for key, value in configuration(GATE, "config.pbtxt").parameters.items()}
    assert float(parameters["gate_threshold"]) == manifest.gate_threshold
    assert float(parameters["mask_threshold"]) == manifest.mask_threshold
    assert parameters["networks_version"] == manifest.version
    assert {name: parameters[f"{name}_sha256"] for name in NETWORKS} == manifest.digests


@pytest.mark.parametrize("network", NETWORKS)
def test_graphs_take_and_give_what_the_contract_says(network: str) -> None:
    graph = onnx.load(read_manifest(REPOSITORY).onnx_path(network), load_external_data=False).graph
    (given,), (answer,) = graph.input, graph.output
    shapes = [[d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim] for value in (given, answer)]
    assert (given.name, given.type.tensor_type.elem_type) == (IMAGE, onnx.TensorProto.UINT8)
    assert shapes[0][1:] == [SIDE, SIDE, 3]
    assert isinstance(shapes[0][0], str)  # dynamic
    ((name, _, dims),) = TENSORS[network][1]
    assert (answer.name, answer.type.tensor_type.elem_type) == (name, onnx.TensorProto.FLOAT)
    assert shapes[1][1:] == dims
    assert isinstance(shapes[1][0], str)


def test_networks_are_small_and_tell_nothing_of_where_they_were_made() -> None:
    files = [read_manifest(REPOSITORY).onnx_path(network) for network in NETWORKS]
    assert sum(file.stat().st_size for file in files) <= 80_000_000
    for file in files:
        content = file.read_bytes()
        assert b"/home/" not in content
        assert b"site-packages" not in content
        assert b".py" not in content


def test_the_manifest_says_how_the_networks_came_to_be() -> None:
    content = json.loads((REPOSITORY / "manifest.json").read_text("utf-8"))
    assert set(content) == {
        "version",
        "models",
        "thresholds",
        "temperature",
        "offset",
        "mirror",
        "split",
        "metrics",
        "training",
        "tools",
    }
    assert {"tumorctl", "torch", "onnx", "onnxruntime"} <= set(content["tools"])
    for network in NETWORKS:
        assert content["models"][network]["parity"]["dice"] >= 0.999
    assert content["models"][CLASSIFIER]["parity"]["max_error"] <= 1e-3


def test_only_served_versions_are_there() -> None:
    version = read_manifest(REPOSITORY).version
    for network in NETWORKS:
        versions = [path.name for path in (REPOSITORY / network).iterdir() if path.name.isdecimal()]
        assert versions == [version]
        assert Path(REPOSITORY / network / version / "embedded.py").is_file()
