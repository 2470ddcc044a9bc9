"""Fixtures of the export's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from tumor_export.onnx import ServedClassifier, ServedNetwork, ServedSegmenter, export_onnx
from tumor_training.calibrate import Scale
from tumor_training.networks import TumorClassifier, TumorSegmenter

SCALE = Scale(1.7, 0.4)


@pytest.fixture(autouse=True)
def _same_numbers(one_thread: None) -> None:
    torch.manual_seed(0)


def liven(network: nn.Module) -> None:
    """Give batch norms statistics and factors of their own, as training does: fresh ones do nothing."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.fixture(scope="session")
def networks(one_thread: None) -> dict[str, ServedNetwork]:
    """Both networks as they are served, with live batch norms."""
    torch.manual_seed(1)
    classifier, segmenter = TumorClassifier(), TumorSegmenter()
    liven(classifier)
    liven(segmenter)
    # The sum over all cells of a network that has learned nothing would be sure of a tumour.
    assert classifier.fine.bias is not None
    nn.init.constant_(classifier.fine.bias, -17.0)
    return {
        "classifier": ServedClassifier(classifier.eval(), SCALE).eval(),
        "segmenter": ServedSegmenter(segmenter.eval()).eval(),
    }


@pytest.fixture(scope="session")
def graphs(networks: dict[str, ServedNetwork], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ONNX files of both networks, with weights in full precision."""
    folder = tmp_path_factory.mktemp("graphs")
    for name, network in networks.items():
        export_onnx(network, folder / f"{name}.onnx", half_weights=False)
    return {name: folder / f"{name}.onnx" for name in networks}


@pytest.fixture(scope="session")
def images() -> npt.NDArray[np.uint8]:
    """Three slices, uint8."""
    return np.random.default_rng(2).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
