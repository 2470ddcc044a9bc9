"""Precisions that an engine can be built in."""

from __future__ import annotations

from enum import Enum


class EnginePrecision(str, Enum):
    """Arithmetic of a TensorRT engine.

    Attributes:
        fp32: single precision, TF32 off.
        fp16: half precision, with single precision before the first convolution and after the last.
        int8: 8 bit convolutions with calibrated scales, single precision elsewhere.
    """

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
