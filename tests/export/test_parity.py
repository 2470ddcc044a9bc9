from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from tumor_export import parity
from tumor_export.agreement import Parity, ParityError
from tumor_export.onnx import ServedNetwork
from tumor_export.parity import compare_classifier, compare_segmenter
from tumorctl.errors import ModelError

Images = npt.NDArray[np.uint8]
Networks = dict[str, ServedNetwork]
Graphs = dict[str, Path]


def compare(name: str, network: ServedNetwork, path: Path, images: Images, threshold: float = 0.5) -> Parity:
    if name == "classifier":
        return compare_classifier(network, path, images)
    return compare_segmenter(network, path, images, threshold)


BOTH = pytest.mark.parametrize("name", ["classifier", "segmenter"])


@BOTH
def test_a_faithful_graph_passes(networks: Networks, graphs: Graphs, name: str, images: Images) -> None:
    found = compare(name, networks[name], graphs[name], images)
    assert found.slices == 3
    assert found.max_error < 1e-4
    assert found.dice > 0.999
    assert found.to_dict() == {"slices": 3, "max_error": found.max_error, "dice": found.dice}


def change_weights(source: Path, target: Path, change: Callable[[npt.NDArray[np.float32]], object]) -> Path:
    """A copy of a graph with all of its larger weights changed in place."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype == np.float32 and values.size > 100:
            change(values)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


def shuffle(values: npt.NDArray[np.float32]) -> None:
    np.random.default_rng(0).shuffle(values)


def spoil(values: npt.NDArray[np.float32]) -> None:
    values.flat[0] = np.nan


@BOTH
@pytest.mark.parametrize("change", [shuffle, spoil], ids=["another network", "not a number"])
@pytest.mark.parametrize("threshold", [0.5, 1.0], ids=["with masks", "without masks"])
def test_a_tampered_graph_fails(
    networks: Networks,
    graphs: Graphs,
    name: str,
    images: Images,
    change: Callable[[npt.NDArray[np.float32]], None],
    threshold: float,
    tmp_path: Path,
) -> None:
    path = change_weights(graphs[name], tmp_path / "model.onnx", change)
    with pytest.raises(ParityError, match=r"model\.onnx: "):
        compare(name, networks[name], path, images, threshold)


def test_a_parity_error_is_an_error_of_the_models() -> None:
    assert issubclass(ParityError, ModelError)


def made_up(monkeypatch: pytest.MonkeyPatch, wanted: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> None:
    monkeypatch.setattr(parity, "_answers", lambda network, images: wanted)
    monkeypatch.setattr(parity, "onnx_runtime", lambda path: lambda images: got)


@pytest.mark.parametrize(("error", "passes"), [(0.0009, True), (0.0011, False)])
def test_a_classifiers_probabilities_agree_within_a_thousandth(
    networks: Networks, images: Images, monkeypatch: pytest.MonkeyPatch, error: float, passes: bool
) -> None:
    wanted = np.array([[0.1], [0.5], [0.9]], np.float32)
    made_up(monkeypatch, wanted, wanted + np.array([[0], [-error], [0]], np.float32))
    if passes:
        assert compare_classifier(networks["classifier"], Path("m"), images).max_error == pytest.approx(error, rel=1e-3)
    else:
        with pytest.raises(ParityError, match=r"off by 0\.0011"):
            compare_classifier(networks["classifier"], Path("m"), images)


@pytest.mark.parametrize(("missed", "passes"), [(1, True), (9, False)])
def test_a_segmenters_masks_agree_to_a_thousandth(
    networks: Networks, images: Images, monkeypatch: pytest.MonkeyPatch, missed: int, passes: bool
) -> None:
    wanted, got = np.zeros((2, 1, 64, 64), np.float32)
    wanted[:, :40, :50] = got[:, :40, :50] = 0.7
    got[:, 0, :missed] = 0.69
    made_up(monkeypatch, wanted, got)
    if passes:
        found = compare_segmenter(networks["segmenter"], Path("m"), images, 0.7)
        assert found.dice == pytest.approx(2 * 1999 / 3999)
        assert found.max_error == pytest.approx(0.01, rel=1e-3)
    else:
        with pytest.raises(ParityError, match=r"masks agree with Dice 0\.99774"):
            compare_segmenter(networks["segmenter"], Path("m"), images, 0.7)
