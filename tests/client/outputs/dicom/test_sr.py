from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from clinical_phantoms import Phantom, Plane
from debian import dicom_errors
from predictions import predicted

SMALL = Phantom(shape=(18, 32, 36), spacing_mm=(10.0, 7.2, 6.4))


def items(item: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """All content items, depth first."""
    for each in item.get("ContentSequence", []):
        yield each
        yield from items(each)


def named(report: pydicom.Dataset, code: str) -> list[pydicom.Dataset]:
    return [item for item in items(report) if item.ConceptNameCodeSequence[0].CodeValue == code]


def number(report: pydicom.Dataset, code: str) -> tuple[Any, str]:
    (item,) = named(report, code)
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


@pytest.mark.parametrize("plane", list(Plane))
def test_a_report_holds_what_was_measured(plane: Plane, tmp_path: Path) -> None:
    prediction = predicted(Phantom(plane=plane, tilt_deg=(11.0, -8.0, 14.0)))
    prediction.to_dicom_sr().save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "sr.dcm") == []
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    measured = prediction.measurements
    assert measured.diameters is not None
    assert number(report, "118565006") == (pytest.approx(measured.volume_ml, abs=1e-3), "ml")
    assert number(report, "103339001") == (pytest.approx(measured.diameters.longest_mm, abs=1e-3), "mm")
    assert number(report, "103340004") == (pytest.approx(measured.diameters.perpendicular_mm, abs=1e-3), "mm")
    assert number(report, "122157") == (pytest.approx(0.93), "1")
    (center,) = named(report, "128138")
    assert list(center.GraphicData) == pytest.approx(measured.centroid_lps_mm, abs=1e-3)
    assert center.ReferencedFrameOfReferenceUID == prediction.flair_instances[0].FrameOfReferenceUID
    (laterality,) = named(report, "272741003")
    assert laterality.ConceptCodeSequence[0].CodeMeaning == "Left"

    (segment,) = named(report, "121191")
    seg = prediction.to_dicom_seg()
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    (tracking,) = named(report, "112040")
    assert seg.SegmentSequence[0].TrackingUID == tracking.UID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert seg.SeriesInstanceUID in {series.SeriesInstanceUID for series in evidence}

    # Diameters refer to the slice they were measured on, where it is one of the scan's own.
    sources = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in named(report, "121112")}
    own = {prediction.flair_instances[measured.diameters.index].SOPInstanceUID}
    assert sources == (own if plane is Plane.axial else set())


def test_a_report_says_how_far_to_trust_it() -> None:
    prediction = predicted(SMALL)
    report = prediction.to_dicom_sr()
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.SeriesDescription.startswith("RESEARCH USE ONLY")
    comments = [item.TextValue for item in named(report, "121106")]
    assert comments[0].startswith("RESEARCH USE ONLY")
    assert comments[1:] == list(prediction.warnings)
    assert named(report, "111000")[0].ConceptCodeSequence[0].CodeValue == "123110"
    parameters = {item.TextValue for item in named(report, "111002")}
    assert {"gate_threshold=0.05", "mask_threshold=0.5", "tumor_classifier_sha256=" + "ab" * 32} <= parameters
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription"):
        assert report[keyword].value == prediction.flair_instances[0][keyword].value


def test_a_study_without_tumour_gets_a_report_that_says_so(tmp_path: Path) -> None:
    prediction = predicted(replace(SMALL, lesion_radii_mm=(0.0, 0.0, 0.0)), tumor_probability=0.02)
    prediction.to_dicom_sr().save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "sr.dcm") == []
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    assert number(report, "122157") == (pytest.approx(0.02), "1")
    (neoplasm,) = named(report, "108369006")
    assert neoplasm.ConceptCodeSequence[0].CodeMeaning == "Absent"
    assert named(report, "121071") == named(report, "121191") == named(report, "118565006") == []
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [series.SeriesInstanceUID for series in evidence] == [prediction.flair_instances[0].SeriesInstanceUID]
