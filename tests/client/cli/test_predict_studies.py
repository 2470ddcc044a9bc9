"""`tumorctl predict` on whole studies: tables, files, broken studies beside sound ones, and no patient data told."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from typer.testing import CliRunner, Result

from bright_engine import BrightEngine
from clinical_phantoms import Phantom, Sequence
from tumorctl import TumorClient
from tumorctl.cli.main import app

SMALL = Phantom(shape=(18, 48, 48), spacing_mm=(10.0, 4.6, 4.6), patient="SECRET42")
TOLD = ("SECRET42", "Phäntom", "19700101", "20240229", "Referrer", "Test Hospital")

_LOUD = ("WARNING", "ERROR", "CRITICAL")


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs `tumorctl predict` with an engine that marks bright pixels."""

    def made(*_: object, **__: object) -> TumorClient:
        return TumorClient.from_engine(BrightEngine())

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["predict", *map(str, arguments)])

    monkeypatch.setattr("tumorctl.client.TumorClient", made)
    return run


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_studies_and_slices_in_one_call(predict: object, tmp_path: Path) -> None:
    assert callable(predict)
    scans, output = tmp_path / "scans", tmp_path / "results"
    SMALL.write(scans / "sound")
    (scans / "broken").mkdir()
    (scans / "broken" / "flair.nii.gz").write_bytes(b"no image")
    (scans / "slices").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(scans / "slices" / "a_1.png")
    done = predict(scans, "--output", output)
    assert done.exit_code == 3, done.output
    rows = rows_of(output / "predictions.csv")
    studies = {row["study"]: row for row in rows_of(output / "studies.csv")}
    assert set(studies) == {"slices", "broken", "sound"}
    assert "flair.nii.gz" in studies["broken"]["error"]
    own = [row for row in rows if row["study"] == "sound"]
    assert [row["slice"] for row in own] == [str(number) for number in range(1, 19)]
    image: Any = nibabel.load(output / "studies" / "sound" / "mask.nii.gz")
    mask = image.get_fdata().transpose(2, 1, 0)
    assert [int(row["area_px"]) for row in own] == mask.sum(axis=(1, 2)).astype(int).tolist()
    for row in own:
        assert row["tumor"] == ("true" if int(row["area_px"]) else "false")
        assert row["mask"] == ("studies/sound/mask.nii.gz" if int(row["area_px"]) else "")
    assert studies["sound"]["laterality"] == "left"
    assert float(studies["sound"]["volume_ml"]) > 10
    assert (output / "studies" / "sound" / "seg.dcm").is_file()
    counts = json.loads((output / "run.json").read_text("utf-8"))["counts"]
    assert counts["studies"] == 3
    assert counts["slices"] == 19
    assert counts["failed"] == 1
    again = predict(scans / "sound", "--output", output, "--no-dicom")
    assert again.exit_code == 0, again.output
    assert not (output / "studies" / "sound" / "seg.dcm").exists()


def test_nothing_of_the_patient_is_told(predict: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(predict)
    caplog.set_level("DEBUG")
    scans, output = tmp_path / "scans", tmp_path / "results"
    SMALL.write(scans / "one")
    SMALL.write(scans / "two", sequences=(Sequence.t1_pre,))
    header = nibabel.Nifti1Image(np.ones((40, 40, 4), np.float32), np.eye(4))
    header.header["descrip"], header.header["db_name"] = b"SECRET42", b"SECRET42"
    (scans / "three").mkdir()
    nibabel.save(header, scans / "three" / "flair.nii.gz")
    done = predict(scans, "--output", output)
    uids = {str(instance.SOPInstanceUID) for sequence in Sequence for instance in SMALL.instances(sequence)}
    uids |= {
        str(SMALL.instances(Sequence.flair)[0][keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID")
    }
    files = [path for path in output.rglob("*") if path.is_file() and path.suffix != ".dcm" and path.suffix != ".gz"]
    assert {"predictions.csv", "studies.csv", "run.json", "measurements.json"} <= {path.name for path in files}
    # Libraries' own debugging is off unless somebody turns it on; ours is looked at in full.
    logged = [each for each in caplog.records if each.name.startswith("tumorctl") or each.levelname in _LOUD]
    told = "\n".join(
        [done.output, *(each.getMessage() for each in logged), *(path.read_text("utf-8", "replace") for path in files)]
    )
    assert not [secret for secret in (*TOLD, *uids) if secret in told]


def test_series_are_named_for_one_study_only(predict: object, tmp_path: Path) -> None:
    assert callable(predict)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flair.nii").write_bytes(b"")
    done = predict(tmp_path, "--output", tmp_path / "results", "--flair", "flair.nii")
    assert done.exit_code == 2
    assert "one study" in done.output


def test_warnings_are_shown_under_the_table_and_kept_for_machines(predict: object, tmp_path: Path) -> None:
    assert callable(predict)
    scans, output = tmp_path / "scans", tmp_path / "results"
    SMALL.write(scans / "part", sequences=(Sequence.flair,))
    (scans / "slices").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(scans / "slices" / "a_1.png")
    done = predict(scans, "--output", output)
    assert done.exit_code == 0, done.output
    kept = json.loads((output / "run.json").read_text("utf-8"))["warnings"]
    assert kept == {
        "part": [f"the T1 {when} contrast is missing; the FLAIR stands in for it" for when in ("before", "after")]
    }
    table, _, told = done.output.partition("Warnings of 1 study:")
    assert "warnings" in table
    assert [line.strip() for line in told.splitlines()[1:4]] == ["part", *(f"- {warning}" for warning in kept["part"])]
    summary = predict(scans, "--output", output, "--json")
    assert json.loads(summary.output)["warnings"] == kept


def test_a_run_that_has_none_says_nothing_of_them(predict: object, tmp_path: Path) -> None:
    assert callable(predict)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a_1.png")
    done = predict(tmp_path, "--output", tmp_path / "results")
    assert "arning" not in done.output
    assert json.loads((tmp_path / "results" / "run.json").read_text("utf-8"))["warnings"] == {}


@pytest.mark.parametrize("library", ["nibabel", "pydicom", "SimpleITK"])
def test_without_the_clinical_part_its_pip_command_is_named(
    predict: object, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(predict)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "flair.nii.gz").touch()
    monkeypatch.setitem(sys.modules, library, None)
    done = predict(tmp_path / "scan", "--output", tmp_path / "results")
    assert done.exit_code == 2
    assert "pip install 'tumorctl[clinical]'" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "results").exists()


def test_a_zip_of_a_study_in_dicom_gets_the_same_results(predict: object, tmp_path: Path) -> None:
    assert callable(predict)
    folder = replace(SMALL, shape=(9, 48, 48)).write(tmp_path / "head")
    with zipfile.ZipFile(tmp_path / "head.zip", "w") as made:
        for file in folder.iterdir():
            made.write(file, file.name)
    found = []
    for source in (folder, tmp_path / "head.zip"):
        output = tmp_path / f"results of {source.name}"
        done = predict(source, "--output", output)
        assert done.exit_code == 0, done.output
        (study,) = rows_of(output / "studies.csv")
        names = sorted(path.name for path in (output / "studies" / "head").iterdir())
        seg = dcmread(output / "studies" / "head" / "seg.dcm")
        found.append((study, names, rows_of(output / "predictions.csv"), seg.SOPInstanceUID, seg.PixelData))
    assert found[0] == found[1]
    assert found[0][0]["study"] == "head"
    assert set(found[0][1]) >= {"mask.nii.gz", "seg.dcm", "sr.dcm", "overlay.dcm", "measurements.json"}
