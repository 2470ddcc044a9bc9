"""Runs over whole studies that are told to stop."""

from __future__ import annotations

import csv
import importlib
import json
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bright_engine import BrightEngine
from clinical_phantoms import Phantom, Sequence
from tumorctl import ClientOptions, TumorClient
from tumorctl.batch import BatchOptions, predict_folders
from tumorctl.engines.base import BatchAnswer
from tumorctl.types import SeriesRole

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


@pytest.mark.parametrize("broken", ["tumorctl.preparation.prepare.prepare", "tumorctl.study_batch.read_source"])
def test_what_nobody_thought_of_ends_one_study_and_no_other(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        replace(SMALL, patient=name).write(tmp_path / "scans" / name, sequences=(Sequence.flair,))
    module, _, function = broken.rpartition(".")
    original = getattr(importlib.import_module(module), function)
    calls: list[object] = []

    def fails_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError("Doe^Jane")
        return original(*arguments)

    monkeypatch.setattr(broken, fails_once)
    with TumorClient.from_engine(BrightEngine()) as client:
        paths = [tmp_path / "scans" / name for name in ("a", "b")]
        run = predict_folders(client, paths, BatchOptions(output=tmp_path / "results"))
    assert run["status"] == "complete"
    assert (run["counts"]["failed"], run["counts"]["slices"]) == (1, 18)
    with (tmp_path / "results" / "studies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study"] for row in rows] == ["a", "b"]
    assert rows[0]["error"].startswith("something unexpected in it (MemoryError)")
    assert rows[1]["error"] == ""
    assert not any(b"Doe" in file.read_bytes() for file in (tmp_path / "results").glob("*.*"))


def test_a_run_that_dies_does_not_say_that_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SMALL.write(tmp_path / "scans", sequences=(Sequence.flair,))

    def dies(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tumorctl.batch.predict_sources", dies)
    with TumorClient.from_engine(BrightEngine()) as client, pytest.raises(ZeroDivisionError):
        predict_folders(client, [tmp_path / "scans"], BatchOptions(output=tmp_path / "results"))
    run = json.loads((tmp_path / "results" / "run.json").read_text())
    assert (run["status"], run["error"]) == ("failed", "something unexpected (ZeroDivisionError)")


def test_a_stray_file_that_cannot_be_used_does_not_keep_series_from_being_named(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scans" / "a", sequences=(Sequence.flair,))
    (tmp_path / "scans" / "stray.dcm").touch()
    named = {SeriesRole.flair: "series 1"}
    with TumorClient.from_engine(BrightEngine()) as client:
        run = predict_folders(client, [tmp_path / "scans"], BatchOptions(output=tmp_path / "results", named=named))
    assert (run["counts"]["slices"], run["counts"]["failed"]) == (18, 1)
