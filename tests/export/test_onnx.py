from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import tumor_export.onnx
from tumor_export.onnx import ServedClassifier, ServedNetwork, export_onnx, halve_weights
from tumor_training.calibrate import Scale
from tumor_training.networks import TumorClassifier
from tumor_training.networks.folding import fold_batch_norms
from tumorctl.contract import IMAGE, MASK_PROBABILITY, SIDE, TUMOR_PROBABILITY

Images = npt.NDArray[np.uint8]
Networks = dict[str, ServedNetwork]
Graphs = dict[str, Path]
BOTH = pytest.mark.parametrize("name", ["classifier", "segmenter"])
OUTPUTS = {"classifier": (TUMOR_PROBABILITY, [1]), "segmenter": (MASK_PROBABILITY, [SIDE, SIDE])}


def answer(graph: Path | bytes, images: Images) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {IMAGE: images})
    return np.asarray(result)


def wanted(network: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(images)))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@BOTH
def test_names_types_and_shapes_are_the_contracts(graphs: Graphs, name: str) -> None:
    session = onnxruntime.InferenceSession(graphs[name], providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == (IMAGE, "tensor(uint8)", [256, 256, 3])
    output, shape = OUTPUTS[name]
    assert (result.name, result.type, result.shape[1:]) == (output, "tensor(float)", shape)
    assert isinstance(given.shape[0], str)
    assert given.shape[0] == result.shape[0]


@BOTH
def test_graphs_answer_as_their_networks(networks: Networks, graphs: Graphs, name: str, images: Images) -> None:
    expected = wanted(networks[name], images)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(answer(graphs[name], images), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "batch"), [("classifier", 1), ("classifier", 3), ("classifier", 64), ("segmenter", 1)]
)
def test_a_slice_has_the_same_answer_in_any_batch(graphs: Graphs, name: str, batch: int, images: Images) -> None:
    several = answer(graphs[name], np.resize(images, (batch, *images.shape[1:])))
    assert several.shape[0] == batch
    np.testing.assert_allclose(several[:3], answer(graphs[name], images)[:batch], atol=1e-5)


def test_temperature_and_offset_change_the_logits(networks: Networks, images: Images) -> None:
    served = networks["classifier"]
    assert isinstance(served, ServedClassifier)
    scale = Scale(served.scale.temperature, 0.25)
    hot, cold = (wanted(ServedClassifier(served.network, each).eval(), images) for each in (scale, Scale()))
    logits = np.log(cold / (1 - cold))
    np.testing.assert_allclose(hot, 1 / (1 + np.exp(-logits / scale.temperature - scale.offset)), rtol=1e-4)
    assert not np.allclose(hot, cold)


@BOTH
def test_fusing_removes_all_batch_norms_and_keeps_the_answers(networks: Networks, name: str, images: Images) -> None:
    network = networks[name]
    assert norms(network) > 15
    fused = fold_batch_norms(copy.deepcopy(network))
    assert norms(fused) == 0
    np.testing.assert_allclose(wanted(fused, images), wanted(network, images), atol=1e-5)


def test_fusing_works_for_deeper_encoders() -> None:
    network = TumorClassifier(50).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
        fused = fold_batch_norms(network)
        assert norms(fused) == 0
        torch.testing.assert_close(fused(images), expected, atol=1e-4, rtol=1e-4)


@BOTH
def test_the_network_given_is_left_as_it_is(networks: Networks, graphs: Graphs, name: str) -> None:
    """The fixture has exported it."""
    assert graphs[name].is_file()
    assert norms(networks[name]) > 15


@BOTH
def test_half_weights_nearly_halve_the_file_and_keep_the_answers(
    networks: Networks, graphs: Graphs, name: str, images: Images
) -> None:
    model = onnx.load(graphs[name])
    halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    halved = model.SerializeToString()
    assert 0.49 < len(halved) / graphs[name].stat().st_size < 0.53
    np.testing.assert_allclose(answer(halved, images), wanted(networks[name], images), atol=5e-3)


def test_small_and_large_valued_tensors_stay_in_single_precision() -> None:
    values: dict[str, npt.NDArray[Any]] = {
        "few": np.ones(1023, np.float32),
        "huge": np.full(1024, 1e5, np.float32),
        "whole": np.ones(1024, np.int64),
        "many": np.linspace(-1, 1, 1024, dtype=np.float32),
    }
    graph = onnx.helper.make_graph([], "g", [], [], [numpy_helper.from_array(v, name) for name, v in values.items()])
    model = onnx.helper.make_model(graph)
    halve_weights(model)
    stored = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer}
    assert stored == {"few": np.float32, "huge": np.float32, "whole": np.int64, "many_half": np.float16}
    (cast,) = model.graph.node
    assert (cast.op_type, list(cast.input), list(cast.output)) == ("Cast", ["many_half"], ["many"])


@BOTH
def test_files_tell_nothing_of_the_machine_that_made_them(graphs: Graphs, name: str) -> None:
    content = graphs[name].read_bytes()
    root = Path(tumor_export.onnx.__file__).parents[2]
    for secret in (str(root), sys.prefix, sys.base_prefix, str(Path.home()), str(Path(torch.__file__).parent)):
        assert secret.encode() not in content
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # weights may spell anything
    told = model.SerializeToString()
    for source in (b".py", b"def ", b"return", b"self", b"torch", b"File ", b"stack_trace", b"/lib", b"/home"):
        assert source not in told


def test_the_file_is_whole_or_not_there(networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("made up")

    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(ValueError, match="made up"):
        export_onnx(networks["classifier"], tmp_path / "new" / "model.onnx")
    assert list(tmp_path.rglob("*")) == []
