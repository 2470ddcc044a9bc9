"""What can stand between a network and its engine.

ModelError
└── BuildError              no engine was made, and nothing was changed
├── NoGpu
├── NoTensorRT
├── WrongTensorRT       not the version that serves, or one too old
├── OutOfGpuMemory
├── UnsupportedOnnx     TensorRT cannot read the graph
└── WrongPrecision      the engine computes in something else than was asked
"""

from __future__ import annotations

from tumorctl.errors import ModelError


class BuildError(ModelError):
    """No engine was made, and nothing was changed."""


class NoGpu(BuildError):
    """This machine has no NVIDIA GPU that works; engines are built on the kind of GPU that will run them."""

    exit_code = 2


class NoTensorRT(BuildError):
    """TensorRT is not installed, or its libraries are not."""

    exit_code = 2


class WrongTensorRT(BuildError):
    """This TensorRT cannot build engines for the server, which loads those of its own version only."""

    exit_code = 2


class OutOfGpuMemory(BuildError):
    """The GPU has too little memory, or others use it."""


class UnsupportedOnnx(BuildError):
    """TensorRT cannot read the graph."""


class WrongPrecision(BuildError):
    """Layers of the engine compute in another precision than was asked for."""
