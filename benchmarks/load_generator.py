"""A closed-loop load generator for the served models: each client sends its next request when the last was answered.

Python threads share one interpreter: at high rates the generator itself may be what is slow. Where perf_analyzer is at
hand (Triton's SDK image), acceptance.py prints its figures beside these.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tumorctl.contract import (
    CLASSIFIER,
    ENSEMBLE,
    GATE_THRESHOLD_PARAMETER,
    IMAGE,
    MASK,
    MASK_PROBABILITY,
    SEGMENTED,
    SEGMENTER,
    TUMOR_PROBABILITY,
)

Images = npt.NDArray[np.uint8]
Call = Callable[[triton.InferenceServerClient, Images], int]
"""One request, or what a client does instead of one; returns how many slices were segmented."""
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a measurement takes: until either bound is reached.

    Attributes:
        requests: answered, over all clients, after the warm-up.
        seconds: likewise.
        warm_up: requests of each client before that are not counted.
    """

    requests: int
    seconds: float
    warm_up: int = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured.

    Attributes:
        way: how slices were sent.
        concurrency: clients at once.
        requests: answered.
        failed: not answered, or with an error.
        slices: in the answered requests.
        segmented: slices that the segmenter saw.
        seconds: from the first counted request to the last answer.
        p50_ms: median time from request to answer.
        p99_ms: 99th percentile.
    """

    way: str
    concurrency: int
    requests: int
    failed: int
    slices: int
    segmented: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def slices_per_second(self) -> float:
        """Throughput."""
        return self.slices / self.seconds if self.seconds else 0.0


def gated(client: triton.InferenceServerClient, images: Images) -> int:
    """The ensemble, as it is."""
    return _ensemble(client, images, {})


def always_segmented(client: triton.InferenceServerClient, images: Images) -> int:
    """The ensemble with its gate open: every slice is segmented."""
    return _ensemble(client, images, {GATE_THRESHOLD_PARAMETER: 0.0})


def two_calls(gate_threshold: float, mask_threshold: float) -> Call:
    """What a client does without the ensemble: classify, then segment the slices that pass."""

    def call(client: triton.InferenceServerClient, images: Images) -> int:
        passed = _infer(client, CLASSIFIER, images, TUMOR_PROBABILITY)[:, 0] >= np.float32(gate_threshold)
        masks = np.zeros(images.shape[:3], np.bool_)
        if passed.any():
            masks[passed] = _infer(client, SEGMENTER, images[passed], MASK_PROBABILITY) >= np.float32(mask_threshold)
        return int(passed.sum())

    return call


def measure(way: str, call: Call, url: str, images: Images, batch: int, concurrency: int, limits: Limits) -> Load:
    """Load a server.

    Args:
        way: name of what is called.
        call: what each client does again and again.
        url: ``HOST:PORT`` of the gRPC endpoint.
        images: slices that the clients go through, each from another place on.
        batch: slices in a request.
        concurrency: clients, each with a connection of its own.
        limits: how long.
    """
    lock = threading.Lock()
    ready = threading.Barrier(concurrency + 1)
    begun, taken, failed, segmented = 0.0, 0, 0, 0
    times: list[float] = []

    def work(number: int) -> None:
        nonlocal taken, failed, segmented
        with triton.InferenceServerClient(url) as client:
            place = number * len(images) // concurrency
            with contextlib.suppress(InferenceServerException):  # the counted requests will tell
                for _ in range(limits.warm_up):
                    call(client, take(images, place, batch))
            ready.wait()
            while True:
                with lock:
                    if taken >= limits.requests or time.monotonic() - begun >= limits.seconds:
                        return
                    taken += 1
                place += batch
                started = time.perf_counter()
                try:
                    count = call(client, take(images, place, batch))
                except InferenceServerException:
                    with lock:
                        failed += 1
                    continue
                spent = time.perf_counter() - started
                with lock:
                    times.append(spent)
                    segmented += count

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(concurrency)]
    for thread in threads:
        thread.start()
    # The clock starts before any client may: they wait for this thread at the barrier.
    while ready.n_waiting < concurrency:
        if not all(thread.is_alive() for thread in threads):
            ready.abort()
            raise RuntimeError(f"{way}: a client failed while warming up")
        time.sleep(0.001)
    begun = time.monotonic()
    ready.wait()
    for thread in threads:
        thread.join()
    return Load(
        way=way,
        concurrency=concurrency,
        requests=len(times),
        failed=failed,
        slices=len(times) * batch,
        segmented=segmented,
        seconds=time.monotonic() - begun,
        p50_ms=percentile_ms(times, 0.5),
        p99_ms=percentile_ms(times, 0.99),
    )


def take(images: Images, place: int, batch: int) -> Images:
    """The next slices, from the first again after the last."""
    return np.ascontiguousarray(images[(place + np.arange(batch)) % len(images)])


def percentile_ms(seconds: list[float], share: float) -> float:
    """The smallest time within which a share of the requests was answered, in milliseconds; NaN without any."""
    return float(np.quantile(seconds, share, method="inverted_cdf") * 1000) if seconds else float("nan")


def _ensemble(client: triton.InferenceServerClient, images: Images, parameters: dict[str, float]) -> int:
    # All outputs: Triton 24.10 cannot answer for some of an ensemble's outputs.
    outputs = [triton.InferRequestedOutput(name) for name in (TUMOR_PROBABILITY, SEGMENTED, MASK)]
    answer = client.infer(ENSEMBLE, [_input(images)], outputs=outputs, parameters=parameters, client_timeout=TIMEOUT_S)
    answer.as_numpy(MASK)
    return int(answer.as_numpy(SEGMENTED).sum())


def _infer(client: triton.InferenceServerClient, model: str, images: Images, output: str) -> npt.NDArray[np.float32]:
    answer: npt.NDArray[np.float32] = client.infer(model, [_input(images)], client_timeout=TIMEOUT_S).as_numpy(output)
    return answer


def _input(images: Images) -> triton.InferInput:
    image = triton.InferInput(IMAGE, list(images.shape), "UINT8")
    image.set_data_from_numpy(np.ascontiguousarray(images))
    return image
