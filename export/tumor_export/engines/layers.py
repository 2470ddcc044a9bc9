"""What an engine's layers compute in, read back from TensorRT's engine inspector.

An engine that silently fell back to another precision answers well and runs slowly, so this is checked, not assumed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tumor_export.engines.errors import BuildError, WrongPrecision

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]\x1e\x1f]+)\]")
# Names that TensorRT has for a tensor's type, alone ("Half") or in a sentence ("Row major linear FP16 format").
_TYPE_NAMES = {
    "int8": re.compile(r"\bint8\b", re.IGNORECASE),
    "fp16": re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE),
    "bf16": re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE),
    "fp32": re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE),
}
# A kernel's name begins with what it multiplies: "..._i8i8_i8i32_f32_...", "..._f16f16_f16f16_f16_...".
_KERNEL_TYPES = re.compile(r"_(i8i8|i8f16|i8f32|f16f16|f16f32|bf16bf16|bf16f32|tf32tf32|f32f32|tf32f32)_")
_KERNEL_NAMES = {
    **dict.fromkeys(("i8i8", "i8f16", "i8f32"), "int8"),
    **dict.fromkeys(("f16f16", "f16f32"), "fp16"),
    **dict.fromkeys(("bf16bf16", "bf16f32"), "bf16"),
    **dict.fromkeys(("tf32tf32", "tf32f32"), "tf32"),
    "f32f32": "fp32",
}


def layer_precisions(inspected: str) -> dict[str, str]:
    """What the convolutions of an engine compute in.

    A layer computes in the type of what it reads: its output may be wider or narrower, where a Q or Cast is fused in.

    Args:
        inspected: the inspector's JSON of an engine that was built with detailed verbosity.

    Returns:
        By ONNX node name: ``fp32``, ``tf32``, ``fp16``, ``bf16`` or ``int8``; of all nodes that the layers name and
        whose type can be told.

    Raises:
        BuildError: this is not what an inspector says.
    """
    found: dict[str, str] = {}
    for layer in _layers(inspected):
        precision = _precision_of(layer)
        if precision is not None:
            for name in _onnx_nodes(layer):
                # A node that was split, or computed apart by a Q or Cast layer: the layer that is a convolution tells.
                if name not in found or _is_convolution(layer):
                    found[name] = precision
    return found


def check_precisions(expected: Mapping[str, str], inspected: str) -> dict[str, int]:
    """See that each convolution of the graph computes in what the graph says.

    Args:
        expected: by ONNX node name, as `tumor_export.precision.expected_types` tells.
        inspected: the inspector's JSON.

    Returns:
        How many convolutions compute in each precision.

    Raises:
        WrongPrecision: one computes in another precision, or it cannot be told of one.
        BuildError: this is not what an inspector says.
    """
    found = layer_precisions(inspected)
    wrong = {name: found[name] for name, wanted in expected.items() if name in found and found[name] != wanted}
    if wrong:
        name, precision = next(iter(wrong.items()))
        raise WrongPrecision(
            f"{len(wrong)} of {len(expected)} convolutions do not compute as asked: {name} in {precision} instead of "
            f"{expected[name]}"
        )
    unknown = [name for name in expected if name not in found]
    if unknown:
        raise WrongPrecision(
            f"the inspector does not tell what {len(unknown)} of {len(expected)} convolutions compute in, such as "
            f"{unknown[0]}"
        )
    return dict(Counter(expected.values()))


def _layers(inspected: str) -> Iterator[Mapping[str, Any]]:
    try:
        layers = json.loads(inspected)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"the engine inspector's answer cannot be read ({type(error).__name__})") from error
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise BuildError("the engine inspector names layers only: the engine was built without detailed verbosity")
        yield layer


def _onnx_nodes(layer: Mapping[str, Any]) -> list[str]:
    """ONNX nodes that a layer is made of: its metadata names them, and its own name joins those that were fused."""
    return [*_ONNX_LAYER.findall(str(layer.get("Metadata", ""))), *str(layer.get("Name", "")).split(" + ")]


def _is_convolution(layer: Mapping[str, Any]) -> bool:
    said = " ".join(str(layer.get(key, "")) for key in ("LayerType", "ParameterType", "TacticName"))
    return re.search(r"conv|gemm|fprop", said, re.IGNORECASE) is not None


def _precision_of(layer: Mapping[str, Any]) -> str | None:
    """By the kernel's name, where it tells; else by what the layer reads; else by its weights."""
    kernel = _KERNEL_TYPES.search(str(layer.get("TacticName", "")))
    if kernel is not None:
        return _KERNEL_NAMES[kernel.group(1)]
    inputs, weights = layer.get("Inputs"), layer.get("Weights")
    said = [tensor for tensor in inputs if isinstance(tensor, Mapping)] if isinstance(inputs, list) else []
    texts = [str(tensor.get(key, "")) for tensor in said for key in ("Format/Datatype", "Datatype")]
    texts.append(str(weights.get("Type", "")) if isinstance(weights, Mapping) else "")
    for text in texts:
        for precision, pattern in _TYPE_NAMES.items():
            if pattern.search(text):
                return precision
    return None
