"""Runs over whole studies that are told to stop."""

from __future__ import annotations

import csv
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bright_engine import BrightEngine
from clinical_phantoms import Phantom, Sequence
from tumorctl import ClientOptions, TumorClient
from tumorctl.batch import BatchOptions, predict_folders
from tumorctl.engines.base import BatchAnswer

SMALL = Phantom(shape=(18, 48, 48), spacing_mm=(10.0, 4.6, 4.6))


class StoppingEngine(BrightEngine):
    """Sets an event once it was given a number of slices."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.stop = threading.Event()
        self._after = after

    def submit(
        self, images: npt.NDArray[np.uint8], *, gate_threshold: float | None, timeout_s: float
    ) -> Future[BatchAnswer]:
        """Answers at once."""
        answer = super().submit(images, gate_threshold=gate_threshold, timeout_s=timeout_s)
        if len(self.seen) >= self._after:
            self.stop.set()
        return answer


@pytest.mark.parametrize(("after", "whole"), [(4, []), (18, ["a"]), (22, ["a"]), (36, ["a", "b"])])
def test_a_run_stops_within_a_study_and_leaves_nothing_half_done(after: int, whole: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        replace(SMALL, patient=name).write(tmp_path / "scans" / name, sequences=(Sequence.flair,))
    engine = StoppingEngine(after)
    with TumorClient.from_engine(engine, options=ClientOptions(batch_size=4)) as client:
        run = predict_folders(client, [tmp_path / "scans"], BatchOptions(output=tmp_path / "results"), stop=engine.stop)
    assert run["status"] == "interrupted"
    assert after <= len(engine.seen) <= after + 4
    assert run["counts"]["studies"] == len(whole)
    assert run["counts"]["slices"] == 18 * len(whole)
    with (tmp_path / "results" / "studies.csv").open(encoding="utf-8", newline="") as file:
        assert [row["study"] for row in csv.DictReader(file)] == whole
    assert sorted(path.parent.name for path in (tmp_path / "results").rglob("measurements.json")) == whole
    assert {path.name for path in (tmp_path / "results" / "studies").glob("*")} == set(whole)
    assert not list((tmp_path / "results").rglob("*.partial"))
