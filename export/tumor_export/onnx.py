"""One network to one ONNX file: uint8 slices in, probabilities out, normalisation inside, dynamic batch."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tumor_training.calibrate import Scale
from tumor_training.networks import TumorClassifier
from tumor_training.networks.folding import fold_batch_norms
from tumor_training.networks.normalise import to_unit_range
from tumorctl import __version__
from tumorctl.contract import (
    CHANNELS,
    IMAGE,
    MASK_PROBABILITY,
    MAX_BATCH_SIZE,
    SIDE,
    TUMOR_PROBABILITY,
)

OPSET = 18
_LARGEST_HALF = 65504.0
_SMALLEST_HALVED = 1024
"""Tensors with fewer elements than this stay in single precision: biases and thresholds cost no space."""


class ServedClassifier(nn.Module):
    """The classifier as it is served.

    Args:
        network: the trained classifier.
        scale: makes calibrated probabilities of its logits; by default, a sigmoid alone.
    """

    def __init__(self, network: TumorClassifier, scale: Scale | None = None) -> None:
        super().__init__()
        self.network = network
        self.scale = scale or Scale()

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, float32, shape (batch, 1), for uint8 images, shape (batch, 256, 256, 3)."""
        logits: Tensor = self.network(to_unit_range(images))
        return self.scale.probabilities(logits).unsqueeze(1)


class ServedSegmenter(nn.Module):
    """The segmenter as it is served.

    Args:
        network: the trained segmenter, or its `Mirrored`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, float32, shape (batch, 256, 256), for uint8 images, shape (batch, 256, 256, 3)."""
        logits: Tensor = self.network(to_unit_range(images))
        return torch.sigmoid(logits).squeeze(1)


ServedNetwork = ServedClassifier | ServedSegmenter


def output_name(network: ServedNetwork) -> str:
    """The contract's name of the network's output."""
    return TUMOR_PROBABILITY if isinstance(network, ServedClassifier) else MASK_PROBABILITY


def export_onnx(network: ServedNetwork, path: Path, *, half_weights: bool = True) -> None:
    """Write a network as one ONNX file, whole or not at all.

    Args:
        network: what is served; not changed.
        path: where to.
        half_weights: store large weights in float16, cast back to float32 when the graph is loaded.
    """
    fused = fold_batch_norms(copy.deepcopy(network).eval())
    example = torch.zeros(2, SIDE, SIDE, CHANNELS, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH_SIZE)
    with warnings.catch_warnings():
        # The exporter warns about its own deprecated internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            fused,
            (example,),
            dynamo=True,
            input_names=[IMAGE],
            output_names=[output_name(network)],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # it is, with dynamo=True
    model = _without_provenance(program.model_proto)
    if half_weights:
        halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    onnx.save(model, aside)
    aside.replace(path)


def halve_weights(model: onnx.ModelProto) -> None:
    """Store the large float32 weights of a graph as float16 with a Cast behind each, in place."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST_HALVED or np.abs(values).max() > _LARGEST_HALF:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _without_provenance(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes of the exporting machine (source paths, stack traces)."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_name, model.producer_version = "tumorctl", __version__
    return model
