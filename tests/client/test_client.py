from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorctl import (
    ClientOptions,
    DeadlineExceeded,
    EngineError,
    EngineInfo,
    InvalidOption,
    Precision,
    SlicePrediction,
    TumorClient,
    TumorctlError,
    UnreadableImage,
    UnsupportedImage,
)
from tumorctl.config import resolve
from tumorctl.engines.base import BatchAnswer

Images = npt.NDArray[np.uint8]


class LevelEngine:
    """An engine of known answers: a slice's probability is its first pixel / 255, its mask the pixels above 128."""

    info = EngineInfo(engine="level", target="test", gate_threshold=0.5, mask_threshold=0.5)
    in_flight = 2

    def __init__(self, delay_s: float = 0.0, fails_from: int | None = None) -> None:
        self.batches: list[int] = []
        self.submitted = 0
        self.closed = False
        self._delay_s = delay_s
        self._fails_from = fails_from
        self._pool = ThreadPoolExecutor(2)

    def submit(self, images: Images, *, gate_threshold: float | None, timeout_s: float) -> Future[BatchAnswer]:
        self.submitted += len(images)
        self.batches.append(len(images))
        fails = self._fails_from is not None and self.submitted > self._fails_from
        return self._pool.submit(self._answer, images, 0.5 if gate_threshold is None else gate_threshold, fails)

    def _answer(self, images: Images, threshold: float, fails: bool) -> BatchAnswer:
        time.sleep(self._delay_s)
        if fails:
            raise EngineError("out of order")
        probabilities = images[:, 0, 0, 0].astype(np.float32) / 255
        segmented = probabilities >= threshold
        return BatchAnswer(probabilities, segmented, (images[..., 0] > 128) & segmented[:, None, None])

    def close(self) -> None:
        self.closed = True
        self._pool.shutdown()


def level(value: int, height: int = 256, width: int = 256) -> Images:
    return np.full((height, width, 3), value, np.uint8)


@settings(deadline=None, max_examples=25)
@given(values=st.lists(st.integers(0, 255), max_size=40), batch_size=st.integers(1, 9))
def test_answers_come_in_the_order_of_the_slices(values: list[int], batch_size: int) -> None:
    engine = LevelEngine()
    with TumorClient.from_engine(engine, options=ClientOptions(batch_size=batch_size)) as client:
        got = [result.tumor_probability for result in client.predict(level(value) for value in values)]
    assert got == [pytest.approx(value / 255, abs=1e-6) for value in values]
    assert max(engine.batches, default=0) <= batch_size
    assert sum(engine.batches) == len(values)
    assert engine.closed


def test_the_gate_decides_who_has_a_mask() -> None:
    with TumorClient.from_engine(LevelEngine(), options=ClientOptions(gate_threshold=0.3)) as client:
        low, middle, high = client.predict(np.stack([level(50), level(100), level(200)]))
    assert (low.segmented, low.mask, low.has_tumor, low.area_px) == (False, None, False, 0)
    # Passed the gate, but the segmenter saw nothing.
    assert middle.segmented
    assert middle.mask is not None
    assert (middle.has_tumor, middle.area_px) == (False, 0)
    assert (high.has_tumor, high.area_px) == (True, 256 * 256)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 200), (64, 512)])
def test_masks_have_the_size_of_their_slice(height: int, width: int) -> None:
    grey = np.full((height, width), 255, np.uint8)
    with TumorClient.from_engine(LevelEngine(), options=ClientOptions(gate_threshold=0.0)) as client:
        (result,) = client.predict([grey])
    assert result.mask is not None
    assert result.mask.shape == (height, width)
    assert result.mask.dtype == np.bool_


def test_a_mask_does_not_keep_its_batch_in_memory() -> None:
    with TumorClient.from_engine(LevelEngine()) as client:
        result = next(client.predict([level(200)] * 16))
    assert result.mask is not None
    assert result.mask.base is None


def test_a_slice_that_cannot_be_used_is_an_error_of_predict() -> None:
    with (
        TumorClient.from_engine(LevelEngine()) as client,
        pytest.raises(UnsupportedImage, match="float64"),
    ):
        list(client.predict([level(1), np.zeros((256, 256, 3))]))  # type: ignore[list-item]


def test_in_a_stream_errors_keep_their_place_and_stop_nothing() -> None:
    items: list[tuple[str, Images | TumorctlError]] = [
        ("a", level(10)),
        ("b", UnreadableImage("torn")),
        ("c", np.zeros((5, 5, 3), np.uint8)),
        ("d", level(200)),
    ]
    with TumorClient.from_engine(LevelEngine(), options=ClientOptions(batch_size=2)) as client:
        got = list(client.stream(items))
    assert [key for key, _ in got] == ["a", "b", "c", "d"]
    assert [type(outcome) for _, outcome in got] == [
        SlicePrediction,
        UnreadableImage,
        UnsupportedImage,
        SlicePrediction,
    ]


def test_a_stream_of_nothing_but_errors_does_not_pile_up() -> None:
    read = 0

    def errors() -> Iterator[tuple[int, TumorctlError]]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield number, UnreadableImage("torn")

    with TumorClient.from_engine(LevelEngine(), options=ClientOptions(batch_size=4)) as client:
        next(client.stream(errors()))
    assert read < 100


def test_slices_are_read_only_as_far_ahead_as_the_engine_needs() -> None:
    engine = LevelEngine()
    with TumorClient.from_engine(engine, options=ClientOptions(batch_size=4)) as client:
        results = client.predict(level(1) for _ in range(1000))
        for _ in range(4):
            next(results)
        assert engine.submitted <= 4 * (engine.in_flight + 1)


def test_answers_before_a_failure_stand() -> None:
    with TumorClient.from_engine(LevelEngine(fails_from=8), options=ClientOptions(batch_size=4)) as client:
        results = client.predict(level(1) for _ in range(20))
        assert len([next(results) for _ in range(8)]) == 8
        with pytest.raises(EngineError, match="out of order"):
            next(results)


def test_a_batch_past_its_deadline_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorctl.client._GRACE_S", 0.0)
    options = ClientOptions(timeout_s=0.05)
    with (
        TumorClient.from_engine(LevelEngine(delay_s=0.5), options=options) as client,
        pytest.raises(DeadlineExceeded, match=r"0\.05 s"),
    ):
        next(client.predict([level(1)]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gate_threshold": 1.5},
        {"gate_threshold": -0.1},
        {"gate_threshold": float("nan")},
        {"batch_size": 0},
        {"batch_size": 65},
        {"timeout_s": 0.0},
        {"timeout_s": float("inf")},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidOption):
        ClientOptions(**wrong)  # type: ignore[arg-type]


def test_argument_before_environment_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None, ClientOptions()).batch_size == 16
    monkeypatch.setenv("TUMORCTL_BATCH_SIZE", "8")
    monkeypatch.setenv("TUMORCTL_URL", "there:8001")
    monkeypatch.setenv("TUMORCTL_PRECISION", "fp32")
    monkeypatch.setenv("TUMORCTL_GATE_THRESHOLD", "0")
    settled = resolve(None, ClientOptions())
    assert (settled.batch_size, settled.url, settled.precision) == (8, "there:8001", Precision.fp32)
    assert settled.gate_threshold == 0.0
    settled = resolve("here:1", ClientOptions(batch_size=4, precision=Precision.bf16, gate_threshold=0.7))
    assert (settled.batch_size, settled.url, settled.precision) == (4, "here:1", Precision.bf16)
    assert settled.gate_threshold == 0.7


@pytest.mark.parametrize(
    ("name", "value"), [("BATCH_SIZE", "many"), ("BATCH_SIZE", "0"), ("PRECISION", "int3"), ("TIMEOUT_S", "-1")]
)
def test_an_environment_variable_that_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TUMORCTL_{name}", value)
    with pytest.raises(InvalidOption):
        resolve(None, ClientOptions())
