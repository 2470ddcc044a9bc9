"""The local engine: the networks in this process, on the processor."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumorctl.contract import CLASSIFIER, NETWORKS, SEGMENTER, SIDE
from tumorctl.engines.base import BatchAnswer
from tumorctl.engines.openvino import Network, choose_precision
from tumorctl.engines.runtime import VERSION
from tumorctl.errors import EngineError, TumorctlError
from tumorctl.manifest import read_manifest
from tumorctl.types import EngineInfo, Precision


class LocalEngine:
    """Classifier, gate and segmenter in this process.

    Batches are computed one after the other by one thread, which leaves the caller free to decode the next ones; the
    arithmetic itself uses all cores.

    Args:
        repository: model repository; its files are checked against its manifest.
        precision: arithmetic.

    Raises:
        ModelError: the repository cannot be used, or the processor lacks the precision.
        DamagedModel: a file differs from its digest.
    """

    in_flight = 2

    def __init__(self, repository: Path, precision: Precision = Precision.auto) -> None:
        manifest = read_manifest(repository)
        manifest.verify()
        chosen = choose_precision(precision)
        self._gate_threshold = manifest.gate_threshold
        self._mask_threshold = manifest.mask_threshold
        with ThreadPoolExecutor(2) as compilers:
            self._classifier, self._segmenter = compilers.map(
                lambda name: Network.of(manifest, name, chosen), (CLASSIFIER, SEGMENTER)
            )
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tumorctl-local")
        self.info = EngineInfo(
            engine="local",
            target=chosen.value,
            model_versions=dict.fromkeys(NETWORKS, manifest.version),
            model_digests=dict(manifest.digests),
            gate_threshold=manifest.gate_threshold,
            mask_threshold=manifest.mask_threshold,
            software={"openvino": VERSION},
        )

    def submit(
        self, images: npt.NDArray[np.uint8], *, gate_threshold: float | None, timeout_s: float
    ) -> Future[BatchAnswer]:
        """Start on a batch; see `Engine.submit`. The deadline is kept by whoever waits for the answer."""
        threshold = self._gate_threshold if gate_threshold is None else gate_threshold
        return self._worker.submit(self._answer, images, threshold)

    def close(self) -> None:
        """Finish the batch at work, drop the others."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _answer(self, images: npt.NDArray[np.uint8], gate_threshold: float) -> BatchAnswer:
        try:
            probabilities = self._classifier(images)[:, 0]
            segmented = probabilities >= np.float32(gate_threshold)
            masks = np.zeros((len(images), SIDE, SIDE), np.bool_)
            if segmented.any():
                masks[segmented] = self._segmenter(images[segmented]) >= np.float32(self._mask_threshold)
        except TumorctlError:
            raise
        except RuntimeError as error:
            raise EngineError("the local engine failed on a batch") from error
        return BatchAnswer(probabilities, segmented, masks)
