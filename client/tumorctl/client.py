"""`TumorClient`: slices in, predictions out, whatever computes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from tumorctl.errors import DeadlineExceeded, TumorctlError
from tumorctl.types import ClientOptions, ConnectionOptions, EngineInfo, SlicePrediction

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tumorctl.config import Settings
    from tumorctl.engines.base import BatchAnswer, Engine
    from tumorctl.studies import StudySource
    from tumorctl.study import StudyPrediction

Key = TypeVar("Key")

_GRACE_S = 1.0
"""How much longer than the deadline to wait for an engine that keeps deadlines itself."""


class TumorClient:
    """Finds and outlines brain tumours in MRI slices. Research use only.

        with TumorClient() as client:
            for result in client.predict(images):
                print(result.tumor_probability, result.has_tumor, result.area_px)

    Args:
        url: a Triton server's gRPC endpoint: ``HOST:PORT``, ``grpcs://HOST:PORT`` for TLS, several with commas between,
            or ``dns:///HOST:PORT`` for all servers behind a name; None for ``TUMORCTL_URL`` or the profile's, or else
            the local engine.
        options: thresholds, batch size, deadline, precision.
        connection: TLS, token and profile of a server.

    Raises:
        InvalidOption: an option is out of range, an address is none, or a file named cannot be used.
        MissingExtra: the local engine is not installed.
        ModelError: the networks of the local engine cannot be used.
        ServerUnavailable: no server answers at the address.
        InsecureServer: no secure connection came about.
        AccessDenied: the server or a gateway wants another token or certificate.
        ServerRefused: the server does not serve what the contract says.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        options: ClientOptions | None = None,
        connection: ConnectionOptions | None = None,
    ) -> None:
        from tumorctl.config import resolve

        settings = resolve(url, options or ClientOptions(), connection)
        self._start(_engine_for(settings), settings)

    @classmethod
    def from_engine(cls, engine: Engine, *, options: ClientOptions | None = None) -> TumorClient:
        """A client of an engine of one's own, which it closes when it is closed itself."""
        from tumorctl.config import resolve

        client = cls.__new__(cls)
        client._start(engine, resolve(None, options or ClientOptions()))
        return client

    def _start(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def __enter__(self) -> TumorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the engine. May be called twice."""
        self._engine.close()

    @property
    def info(self) -> EngineInfo:
        """Which networks answer, and how."""
        return self._engine.info

    @property
    def gate_threshold(self) -> float | None:
        """The gate threshold in force; None where it is the server's, which does not tell."""
        own = self._settings.gate_threshold
        return self._engine.info.gate_threshold if own is None else own

    def predict(self, images: npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]) -> Iterator[SlicePrediction]:
        """Predict slices, in order, while later ones are still on their way.

        Args:
            images: uint8, shape (slice, height, width, 3), or any iterable of slices of shape (height, width, 3),
                (height, width, 1) or (height, width), each of its own size. Channels are T1 before contrast, FLAIR, T1
                after contrast. The iterable is read as far ahead as the engine needs, not to its end.

        Yields:
            One `SlicePrediction` per slice; its mask has the slice's height and width.

        Raises:
            UnsupportedImage: a slice has another type or shape.
            DeadlineExceeded: a batch took longer than the deadline.
            EngineError: inference failed.
        """
        for _, outcome in self.stream(enumerate(images)):
            if isinstance(outcome, TumorctlError):
                raise outcome
            yield outcome

    def stream(
        self, items: Iterable[tuple[Key, npt.NDArray[np.uint8] | TumorctlError]]
    ) -> Iterator[tuple[Key, SlicePrediction | TumorctlError]]:
        """Predict keyed slices, in order; what is wrong with one slice is its outcome and stops no other.

        Args:
            items: keys with slices as in `predict`, or with the error that kept a slice from being read.

        Yields:
            Each key with its prediction, or with the error given or found.

        Raises:
            EngineError: inference failed; slices already yielded stand.
        """
        from tumorctl.core.fitting import fit

        waiting: deque[_Batch[Key]] = deque()
        batch = _Batch[Key]()
        try:
            for key, item in items:
                if isinstance(item, TumorctlError):
                    batch.add_error(key, item)
                else:
                    try:
                        batch.add(key, fit(item), (item.shape[0], item.shape[1]))
                    except TumorctlError as error:
                        batch.add_error(key, error)
                if batch.is_full(self._settings.batch_size):
                    self._submit(batch)
                    waiting.append(batch)
                    batch = _Batch()
                    if len(waiting) > self._engine.in_flight:
                        yield from waiting.popleft().outcomes(self._settings.timeout_s)
            self._submit(batch)
            waiting.append(batch)
            while waiting:
                yield from waiting.popleft().outcomes(self._settings.timeout_s)
        finally:
            for left in waiting:
                left.cancel()

    def predict_study(
        self,
        source: StudySource,
        *,
        flair: str | os.PathLike[str] | None = None,
        t1_pre: str | os.PathLike[str] | None = None,
        t1_post: str | os.PathLike[str] | None = None,
        main_share: float | None = None,
    ) -> StudyPrediction:
        """Predict one whole study: its series are registered, the tumour is outlined on the FLAIR as it was acquired.

        Args:
            source: a folder, a NIfTI or DICOM file or a zip file; files by role, such as ``{"flair": "a.nii.gz"}``; or
                the pydicom datasets of a study.
            flair: which file or series is the FLAIR, where this is not to be found out.
            t1_pre: likewise the T1 before contrast.
            t1_post: likewise the T1 after contrast.
            main_share: islands smaller than this part of the largest lesion are dropped, 0 keeps all; by default as
                ``tumorctl predict``.

        Raises:
            InvalidInput: there is no study, there are several, or it cannot be used; the kinds say why.
            MissingExtra: the clinical part is not installed.
            DeadlineExceeded: a batch took longer than the deadline.
            EngineError: inference failed.
        """
        from tumorctl.core.components import MAIN_SHARE
        from tumorctl.studies import predict_input, read_one, roles_named

        named = roles_named({"flair": flair, "t1_pre": t1_pre, "t1_post": t1_post})
        return predict_input(self, read_one(source, named), MAIN_SHARE if main_share is None else main_share)

    def _submit(self, batch: _Batch[Key]) -> None:
        if batch.images:
            import numpy as np

            batch.answer = self._engine.submit(
                np.stack(batch.images),
                gate_threshold=self._settings.gate_threshold,
                timeout_s=self._settings.timeout_s,
            )
            batch.images = []


class _Batch(Generic[Key]):
    """Slices that travel together, and the errors among them, in the order they came."""

    def __init__(self) -> None:
        self.images: list[npt.NDArray[np.uint8]] = []
        self.answer: Future[BatchAnswer] | None = None
        self._entries: list[tuple[Key, tuple[int, int] | TumorctlError]] = []

    def add(self, key: Key, image: npt.NDArray[np.uint8], size: tuple[int, int]) -> None:
        self.images.append(image)
        self._entries.append((key, size))

    def add_error(self, key: Key, error: TumorctlError) -> None:
        self._entries.append((key, error))

    def is_full(self, size: int) -> bool:
        # Errors count a little: a folder of nothing but damaged files must not pile up.
        return len(self.images) >= size or len(self._entries) >= 4 * size

    def cancel(self) -> None:
        if self.answer is not None:
            self.answer.cancel()

    def outcomes(self, timeout_s: float) -> Iterator[tuple[Key, SlicePrediction | TumorctlError]]:
        from tumorctl.core.fitting import fit_back

        answer = _wait(self.answer, timeout_s) if self.answer is not None else None
        position = 0
        for key, entry in self._entries:
            if isinstance(entry, TumorctlError):
                yield key, entry
                continue
            assert answer is not None  # there is an answer wherever there is a slice
            segmented = bool(answer.segmented[position])
            mask = fit_back(answer.masks[position], *entry).copy() if segmented else None
            yield key, SlicePrediction(float(answer.probabilities[position]), segmented, mask)
            position += 1


def _wait(answer: Future[BatchAnswer], timeout_s: float) -> BatchAnswer:
    try:
        return answer.result(timeout_s + _GRACE_S)
    except FutureTimeoutError as error:
        answer.cancel()
        raise DeadlineExceeded(f"a batch took longer than {timeout_s:g} s") from error


def _engine_for(settings: Settings) -> Engine:
    from tumorctl.extras import needs_extra

    if settings.url is not None:
        from tumorctl.engines.triton import TritonEngine

        return TritonEngine(settings.url, settings.connection)
    with needs_extra("local", "the local engine"):
        from tumorctl.engines.local import LocalEngine
    return LocalEngine(settings.model_repository, settings.precision)
