"""An engine without networks: it marks bright pixels of the FLAIR, so that geometry alone is tested."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from tumorctl.contract import FLAIR_CHANNEL
from tumorctl.engines.base import BatchAnswer
from tumorctl.types import EngineInfo

_BRIGHT = 183
"""Half-way between brain and lesion of the made-up head, in 8 bits."""


class BrightEngine:
    """Marks what is bright in the FLAIR; keeps the images it was given."""

    info = EngineInfo(engine="local", target="bright pixels", gate_threshold=0.5, mask_threshold=0.5)
    in_flight = 1

    def __init__(self) -> None:
        self.seen: list[npt.NDArray[np.uint8]] = []

    def submit(
        self, images: npt.NDArray[np.uint8], *, gate_threshold: float | None, timeout_s: float
    ) -> Future[BatchAnswer]:
        """Answers at once."""
        self.seen += list(images)
        masks = images[..., FLAIR_CHANNEL] > _BRIGHT
        segmented = masks.any(axis=(1, 2))
        answer: Future[BatchAnswer] = Future()
        answer.set_result(BatchAnswer(np.where(segmented, 0.9, 0.1).astype(np.float32), segmented, masks))
        return answer

    def close(self) -> None:
        """Nothing to let go of."""
