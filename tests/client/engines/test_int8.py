from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tumorctl import ClientOptions, ModelError, Precision, TumorClient
from tumorctl.contract import NETWORKS, SEGMENTER
from tumorctl.engines.int8 import quantise
from tumorctl.engines.openvino import Network
from tumorctl.engines.runtime import openvino, opset13
from tumorctl.manifest import read_manifest


def test_every_convolution_computes_in_eight_bits(small_networks: Path) -> None:
    manifest = read_manifest(small_networks)
    for name in NETWORKS:
        model = openvino.Core().read_model(manifest.onnx_path(name))
        model.reshape([1, 256, 256, 3])
        quantise(model, manifest.int8_ranges[name])
        compiled = openvino.Core().compile_model(model, "CPU")
        computed = [
            operation.get_rt_info()["runtimePrecision"].astype(str)
            for operation in compiled.get_runtime_model().get_ops()
            if operation.get_rt_info()["layerType"].astype(str) == "Convolution"
        ]
        assert computed
        assert set(computed) <= {"u8", "i8"}


def test_answers_are_close_to_single_precision(small_networks: Path, phantoms: npt.NDArray[np.uint8]) -> None:
    manifest = read_manifest(small_networks)
    for name in NETWORKS:
        exact, rounded = (
            Network.of(manifest, name, precision)(phantoms) for precision in (Precision.fp32, Precision.int8)
        )
        assert not np.array_equal(exact, rounded)
        np.testing.assert_allclose(rounded, exact, atol=0.05)


@pytest.mark.parametrize("changed", ["dropped", "absent"])
def test_networks_without_ranges_have_no_int8(changed: str, small_networks: Path) -> None:
    path = small_networks / "manifest.json"
    manifest = json.loads(path.read_text())
    if changed == "dropped":
        manifest["models"][SEGMENTER]["int8_ranges"].popitem()
    else:
        del manifest["models"][SEGMENTER]["int8_ranges"]
    path.write_text(json.dumps(manifest))
    options = ClientOptions(model_repository=str(small_networks), precision=Precision.int8)
    with pytest.raises(ModelError, match="export the networks again"):
        TumorClient(options=options)


def test_weights_that_are_computed_have_no_int8(small_networks: Path) -> None:
    images = opset13.parameter([1, 3, 8, 8], np.float32)
    images.output(0).set_names({"images"})
    weights = opset13.parameter([2, 3, 1, 1], np.float32)
    convolved = opset13.convolution(images, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    with pytest.raises(ModelError, match="not constant"):
        quantise(openvino.Model([convolved], [images, weights]), {"images": (0.0, 1.0)})
