"""The one seam between the client and what computes."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tumorctl.types import EngineInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class BatchAnswer:
    """Answers for a batch, one entry per slice, in order.

    Attributes:
        probabilities: float32, shape (batch,), in [0, 1].
        segmented: bool, shape (batch,): which slices passed the gate.
        masks: bool, shape (batch, 256, 256); all False where not segmented.
    """

    probabilities: npt.NDArray[np.float32]
    segmented: npt.NDArray[np.bool_]
    masks: npt.NDArray[np.bool_]


class Engine(Protocol):
    """Finds and outlines tumours in batches of slices."""

    @property
    def info(self) -> EngineInfo:
        """Which networks answer, and how."""

    @property
    def in_flight(self) -> int:
        """How many batches are worth submitting before the first answer is collected."""

    def submit(
        self, images: npt.NDArray[np.uint8], *, gate_threshold: float | None, timeout_s: float
    ) -> Future[BatchAnswer]:
        """Start on a batch.

        Args:
            images: uint8, shape (batch, 256, 256, 3), 1 to 64 slices.
            gate_threshold: from 0 to 1; None for the networks' own.
            timeout_s: seconds until the answer is given up.

        Returns:
            The answer to come; its exception is an `EngineError` or `ModelError`.
        """

    def close(self) -> None:
        """Let go of threads, connections and memory. May be called twice."""
