"""OpenVINO: one compiled network. Used by the local engine, and by the embedded server's model processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorctl.contract import CHANNELS, CLASSIFIER, SEGMENTER, SIDE
from tumorctl.engines.int8 import Ranges, quantise
from tumorctl.engines.runtime import openvino, properties
from tumorctl.errors import ModelError
from tumorctl.manifest import Manifest
from tumorctl.types import Precision

_DEVICE = "CPU"
_PROCESSOR = Path("/proc/cpuinfo")
_MATRIX_UNIT = "amx_bf16"
# Slices computed at once. A fixed shape is prepared once, where a new one costs tens of milliseconds; the segmenter's
# slices are large enough to fill the processor one at a time, the classifier's are not (benchmarks/engines.py).
_CHUNKS = {CLASSIFIER: 4, SEGMENTER: 1}


def choose_precision(wanted: Precision) -> Precision:
    """What `auto` means on this processor.

    bf16 is faster than fp32 where matrix units compute it (AMX). AVX-512 has it too, and is slower with it
    (benchmarks/engines.py), so there it is used only where it is asked for.

    Raises:
        ModelError: bf16 was asked for and the processor lacks it.
    """
    has_bf16 = "BF16" in openvino.Core().get_property(_DEVICE, properties.device.capabilities)
    if wanted is Precision.auto:
        return Precision.bf16 if has_bf16 and _has_matrix_unit() else Precision.fp32
    if wanted is Precision.bf16 and not has_bf16:
        raise ModelError("this processor does not compute in bf16: choose precision auto or fp32")
    return wanted


def _has_matrix_unit() -> bool:
    """Whether the kernel names AMX; OpenVINO does not tell. False where there is no such file: not Linux."""
    try:
        return _MATRIX_UNIT in _PROCESSOR.read_text().split()
    except OSError:
        return False


class Network:
    """A compiled network with one input and one output.

    Slices are computed in chunks of one fixed shape, so an answer is the same to the bit whatever shares its batch.

    Args:
        name: ``tumor_classifier`` or ``tumor_segmenter``.
        path: its ONNX file; input uint8, shape (batch, 256, 256, 3).
        precision: ``fp32``, ``bf16`` or ``int8``.
        ranges: for ``int8``, see `quantise`.

    Raises:
        ModelError: the file cannot be read or compiled, or lacks what int8 needs.
    """

    def __init__(self, name: str, path: Path, precision: Precision, ranges: Ranges | None = None) -> None:
        self._chunk = _CHUNKS[name]
        core = openvino.Core()
        arithmetic = openvino.Type.bf16 if precision is Precision.bf16 else openvino.Type.f32
        try:
            model = core.read_model(path)
            model.reshape([self._chunk, SIDE, SIDE, CHANNELS])
            if precision is Precision.int8:
                quantise(model, ranges or {})
            compiled = core.compile_model(
                model,
                _DEVICE,
                {
                    properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                    properties.hint.inference_precision: arithmetic,
                },
            )
        except RuntimeError as error:
            raise ModelError(f"{path} cannot be compiled") from error
        self._request = compiled.create_infer_request()
        self._answer_shape = tuple(compiled.output(0).shape)[1:]

    @classmethod
    def of(cls, manifest: Manifest, name: str, precision: Precision) -> Network:
        """A network of a model repository.

        Raises:
            ModelError: see the class.
        """
        return cls(name, manifest.onnx_path(name), precision, manifest.int8_ranges.get(name))

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the network. Not for several threads at once.

        Args:
            images: uint8, shape (batch, 256, 256, 3); any batch, also none.

        Returns:
            float32, shape (batch, ...).
        """
        answers = np.empty((len(images), *self._answer_shape), np.float32)
        for start in range(0, len(images), self._chunk):
            chunk = np.ascontiguousarray(images[start : start + self._chunk])
            count = len(chunk)
            if count < self._chunk:
                chunk = np.concatenate([chunk, np.zeros((self._chunk - count, *chunk.shape[1:]), np.uint8)])
            answer = self._request.infer([chunk], share_inputs=True, share_outputs=True)[0]
            answers[start : start + count] = answer[:count]
        return answers
