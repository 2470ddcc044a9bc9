from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from clinical_phantoms import Phantom
from debian import dicom_errors
from predictions import predicted
from tumorctl.errors import OutputError
from tumorctl.outputs.measured import MEASUREMENT_COLUMNS, UNMEASURED, measurement_cells
from tumorctl.outputs.results import STUDY_COLUMNS, ResultFolder, StudyRow
from tumorctl.outputs.studies import forget_study, study_folder, write_study

SMALL = Phantom(shape=(18, 32, 36), spacing_mm=(10.0, 7.2, 6.4))
HEALTHY = replace(SMALL, lesion_radii_mm=(0.0, 0.0, 0.0))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_study_from_dicom_gets_everything(tmp_path: Path) -> None:
    written = write_study(tmp_path, predicted(SMALL, study="patients/one"))
    files = ["mask.nii.gz", "measurements.json", "overlay.dcm", "overlay.png", "seg.dcm", "sr.dcm"]
    assert names(tmp_path) == sorted(written.files) == [f"studies/patients/one/{file}" for file in files]
    assert written.problems == ()
    for file in (tmp_path / name for name in written.files if name.endswith(".dcm")):
        assert dicom_errors(file) == []
        assert pydicom.dcmread(file).SeriesDescription.startswith("RESEARCH USE ONLY")


def test_a_study_without_tumour_gets_no_segmentation(tmp_path: Path) -> None:
    written = write_study(tmp_path, predicted(HEALTHY))
    assert written.files == tuple(f"studies/head/{file}" for file in ("mask.nii.gz", "sr.dcm", "measurements.json"))
    measured = json.loads((tmp_path / "studies/head/measurements.json").read_text())["measurements"]
    assert measured["volume_ml"] == measured["lesions"] == 0
    assert measured["longest_diameter_mm"] is measured["centroid_lps_mm"] is measured["laterality"] is None


def test_a_study_from_nifti_gets_no_dicom(tmp_path: Path) -> None:
    for name, written in (
        ("nifti", write_study(tmp_path, predicted(SMALL, dicom=False, study="nifti"))),
        ("unwanted", write_study(tmp_path, predicted(SMALL, study="unwanted"), dicom=False)),
    ):
        files = ("mask.nii.gz", "overlay.png", "measurements.json")
        assert written.files == tuple(f"studies/{name}/{file}" for file in files)
        assert written.problems == ()


def test_the_summary_says_all_but_who_it_is(tmp_path: Path) -> None:
    write_study(tmp_path, predicted(SMALL))
    text = (tmp_path / "studies/head/measurements.json").read_text()
    summary = json.loads(text)
    measured = summary["measurements"]
    assert measured["centroid_lps_mm"] == pytest.approx(SMALL.lesion_center_lps, abs=3)
    assert measured["midline"]["x_lps_mm"] == pytest.approx(SMALL.head_center_lps[0], abs=3.2)
    assert measured["measured_on"]["axis"] == "slice"
    assert summary["tumor"] is True
    assert summary["warnings"]
    assert summary["grid"]["spacing_mm"] == pytest.approx([10.0, 7.2, 6.4])
    assert [choice["role"] for choice in summary["series"]] == ["t1_pre", "flair", "t1_post"]
    first = predicted(SMALL).flair_instances[0]
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID", "PatientBirthDate"):
        assert str(first[keyword].value) not in text
    # NIfTI's own frame, where the input was NIfTI.
    other = predicted(SMALL, dicom=False).to_dict()["measurements"]
    assert other["centroid_ras_mm"][:2] == pytest.approx([-x for x in measured["centroid_lps_mm"][:2]])


def test_what_cannot_be_made_keeps_nothing_else_back(tmp_path: Path) -> None:
    prediction = predicted(SMALL)
    del prediction.flair_instances[4].PixelSpacing
    written = write_study(tmp_path, prediction)
    assert [problem.split(":")[0] for problem in written.problems] == ["seg.dcm", "sr.dcm", "overlay.dcm"]
    assert "PixelSpacing" in written.problems[0]
    files = ("mask.nii.gz", "overlay.png", "measurements.json")
    assert written.files == tuple(f"studies/head/{file}" for file in files)
    assert names(tmp_path) == sorted(written.files)


def test_the_picture_shows_every_slice_with_tumour(tmp_path: Path) -> None:
    prediction = predicted(SMALL, dicom=False)
    write_study(tmp_path, prediction)
    sheet = np.asarray(Image.open(tmp_path / "studies/head/overlay.png"))
    _, height, width = prediction.mask.shape
    scale = -(-200 // max(height, width))
    marked = int(prediction.mask.any(axis=(1, 2)).sum())
    columns = math.ceil(math.sqrt(marked))
    assert sheet.shape == (math.ceil(marked / columns) * height * scale, columns * width * scale, 3)
    red = (sheet == (255, 64, 48)).all(axis=-1)
    for number in range(marked):
        top, left = number // columns * height * scale, number % columns * width * scale
        assert red[top : top + height * scale, left : left + width * scale].any()


def test_results_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    write_study(tmp_path, predicted(SMALL))
    write_study(tmp_path, predicted(HEALTHY))
    assert not (tmp_path / "studies/head/seg.dcm").exists()
    (tmp_path / "studies/head/mine.txt").touch()
    results = ResultFolder(tmp_path)
    with results.studies() as table:
        table.add(StudyRow("head").cells())
        table.add(StudyRow("../../outside").cells())
        table.finish()
    ResultFolder(tmp_path)
    assert names(tmp_path) == ["studies/head/mine.txt"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies").touch()
    with pytest.raises(OutputError):
        write_study(tmp_path, predicted(SMALL))
    (tmp_path / "studies").unlink()
    (tmp_path / "studies/head/seg.dcm").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be removed"):
        forget_study(tmp_path, "head")


@pytest.mark.parametrize(
    ("study", "folder"),
    [
        ("a/b", "studies/a/b"),
        ("../a", "studies/a"),
        ("/etc", "studies/etc"),
        (".", "studies/study"),
        ("", "studies/study"),
    ],
)
def test_studies_stay_inside_the_results(study: str, folder: str) -> None:
    assert str(study_folder(study)) == folder


def test_the_table_of_studies_gains_measurements(tmp_path: Path) -> None:
    prediction = predicted(SMALL)
    row = StudyRow("head", measured=measurement_cells(prediction.measurements, prediction.frame))
    with ResultFolder(tmp_path).studies() as table:
        for each in (row, StudyRow("slices")):
            table.add(each.cells())
        table.finish()
    with (tmp_path / "studies.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert STUDY_COLUMNS[:7] == (
        "study",
        "slices",
        "tumor_slices",
        "tumor_probability",
        "tumor",
        "largest_area_px",
        "error",
    )
    assert float(rows[0]["volume_ml"]) == pytest.approx(prediction.measurements.volume_ml, abs=1e-3)
    frame, *place = rows[0]["centroid_mm"].split()
    assert frame == "LPS"
    assert [float(x) for x in place] == pytest.approx(prediction.measurements.centroid_lps_mm, abs=0.06)
    assert rows[0]["laterality"] == "left"
    assert tuple(rows[1][column] for column in MEASUREMENT_COLUMNS) == UNMEASURED
    healthy = predicted(HEALTHY, dicom=False)
    assert measurement_cells(healthy.measurements, healthy.frame) == ("0.0000", "", "", "", "")
