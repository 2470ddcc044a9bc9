"""Where a network starts from: ImageNet weights, a local file, random numbers with a warning, or a shipped network."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet, get_model, get_model_weights

from tumorctl.config import bundled_repository
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest

logger = logging.getLogger(__name__)

DEPTHS = (18, 34, 50, 101, 152)
IMAGENET = "imagenet"
RANDOM = "random"
SHIPPED = "shipped"
# Where the ResNet lies in a checkpoint of either network.
_INSIDE = {
    "network.backbone.": "",
    "network.stem.0.": "conv1.",
    "network.stem.1.": "bn1.",
    "network.contract.0.": "layer1.",
    "network.contract.1.": "layer2.",
    "network.contract.2.": "layer3.",
    "network.bottleneck.": "layer4.",
}


class RandomStartWarning(UserWarning):
    """Pretrained weights were asked for and are not to be had; the encoder starts from random weights."""


def build_resnet(depth: int, weights: str = RANDOM) -> ResNet:
    """A torchvision ResNet, with the start that was asked for.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        weights: ``imagenet`` for torchvision's weights (downloaded on first use; random with a warning where they
            cannot be reached), ``random``, or the path of a state dict (.safetensors with torchvision's
            names, or a checkpoint of either network). Layers that the file lacks stay random.

    Raises:
        InvalidInput: no such depth or file, or the file fits no layer of this network.
    """
    if depth not in DEPTHS:
        raise InvalidInput(f"no ResNet-{depth}: choose {', '.join(map(str, DEPTHS))}")
    name = f"resnet{depth}"
    network: ResNet = get_model(name, weights=None)
    if weights == IMAGENET:
        try:
            network.load_state_dict(get_model_weights(name).IMAGENET1K_V1.get_state_dict(progress=False))
        except OSError as error:
            warnings.warn(
                f"ImageNet weights of {name} cannot be reached ({type(error).__name__}); starting from random weights. "
                "Give a local file with --weights.",
                RandomStartWarning,
                stacklevel=2,
            )
    elif weights != RANDOM:
        load_matching(network, read_state_dict(Path(weights)), source=weights)
    return network


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict: .safetensors, or a training checkpoint, whose ResNet is taken.

    Raises:
        InvalidInput: the file is missing or cannot be read.
    """
    if not path.is_file():
        raise InvalidInput(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidInput(f"{path} is not a weights file ({type(error).__name__})") from error
    state: dict[str, Tensor] = content.get("state_dict", content)
    return {
        theirs + key.removeprefix(ours): value
        for key, value in state.items()
        for ours, theirs in _INSIDE.items()
        if key.startswith(ours)
    } or state


def load_matching(network: nn.Module, state: dict[str, Tensor], *, source: str) -> None:
    """Load the tensors whose name and shape fit; say in the log how many did.

    Raises:
        InvalidInput: none fits.
    """
    own = network.state_dict()
    fitting = {
        key: value.to(own[key].dtype) for key, value in state.items() if key in own and own[key].shape == value.shape
    }
    if not fitting:
        raise InvalidInput(f"{source} holds no tensor that fits this network")
    network.load_state_dict(fitting, strict=False)
    logger.info("%d of %d tensors taken from %s", len(fitting), len(own), source)


def width_of(segmenter: Mapping[str, Tensor]) -> int:
    """The width of a segmenter from its weights, as `read_shipped` gives them."""
    return len(segmenter["expand.0.block.conv1.bias"])


def read_shipped(name: str, repository: Path | None = None, *, second: bool = False) -> dict[str, Tensor]:
    """Weights of a served network, as float32, by the names of the trained one with its batch norms folded.

    Args:
        name: of the served model.
        repository: that serves it; by default the one that tumorctl ships.
        second: read the segmenter of the mirrored look, where it is another one than the first; else there is nothing.

    Raises:
        ModelError: there is no such network, or it does not match its digest.
    """
    manifest = read_manifest(repository or bundled_repository())
    manifest.verify()
    graph = onnx.load(manifest.onnx_path(name)).graph
    # The trained network sits inside the served one, and inside the mirrored one where there is that too.
    inside = re.compile(r"^(network\.)+second\." if second else r"^(network\.)+(?!second\.)")
    return {
        inside.sub("", tensor.name).removesuffix("_half"): torch.tensor(numpy_helper.to_array(tensor)).float()
        for tensor in graph.initializer
        if inside.match(tensor.name) and ".normalise." not in tensor.name
    }
