from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from clinical_phantoms import Phantom, Plane
from debian import dicom_errors
from predictions import predicted
from tumorctl.errors import OutputError
from tumorctl.outputs.pictures import directions, draw_slices, opposite

RED, YELLOW, BLUE = (255, 64, 48), (255, 214, 10), (64, 200, 255)


def places(
    picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: tuple[int, int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.argwhere((picture == colour).all(axis=-1))


@pytest.mark.parametrize("plane", list(Plane))
def test_the_overlay_shows_the_outline_where_the_lesion_is(plane: Plane, tmp_path: Path) -> None:
    phantom = Phantom(plane=plane, tilt_deg=(11.0, -8.0, 14.0))
    prediction = predicted(phantom)
    prediction.to_dicom_sc().save_as(tmp_path / "overlay.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "overlay.dcm") == []
    overlay = pydicom.dcmread(tmp_path / "overlay.dcm")
    shown = np.flatnonzero(phantom.mask.any(axis=(1, 2)))
    frames = overlay.pixel_array
    assert frames.shape[0] == overlay.NumberOfFrames == len(shown)
    scale = frames.shape[1] // phantom.shape[1]
    for frame, index, reference in zip(frames, shown, overlay.SourceImageSequence, strict=True):
        drawn = places(frame, RED)
        rows, columns = np.nonzero(phantom.mask[index])
        for axis, lesion in enumerate((rows, columns)):
            assert drawn[:, axis].min() == lesion.min() * scale
            assert drawn[:, axis].max() == (lesion.max() + 1) * scale - 1
        assert reference.ReferencedSOPInstanceUID == prediction.flair_instances[index].SOPInstanceUID
    assert np.diff(overlay.SliceLocationVector) == pytest.approx(phantom.spacing_mm[0])
    assert [float(x) * scale for x in overlay.PixelSpacing] == pytest.approx(phantom.spacing_mm[1:])


def test_the_overlay_is_marked() -> None:
    prediction = predicted(Phantom())
    overlay = prediction.to_dicom_sc()
    assert overlay.BurnedInAnnotation == "YES"
    assert overlay.SeriesDescription.startswith("RESEARCH USE ONLY")
    assert overlay.Modality == "OT"  # never taken for a scan
    assert list(overlay.PatientOrientation) == ["L", "P"]
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet"):
        assert overlay[keyword].value == prediction.flair_instances[0][keyword].value
    frames = overlay.pixel_array
    # The notice: white on the empty upper left corner of every frame, which the scan leaves black.
    assert ((frames[:, :30, :150] > 180).all(axis=-1).sum(axis=(1, 2)) > 100).all()


def test_diameters_are_drawn_where_they_were_measured() -> None:
    prediction = predicted(Phantom())
    diameters = prediction.measurements.diameters
    assert diameters is not None
    pictures, scale = draw_slices(prediction.flair, prediction.mask, (diameters.index, diameters.index + 1), diameters)
    on_slice = places(pictures[0], YELLOW)
    ends = prediction.grid.to_index(diameters.longest_ends_ras_mm)[:, 1:]
    drawn = np.sort(on_slice[[0, -1]] / scale - 0.5, axis=0)
    assert drawn == pytest.approx(np.sort(ends, axis=0), abs=0.7)
    assert len(places(pictures[0], BLUE)) > 20
    assert len(places(pictures[1], YELLOW)) == len(places(pictures[1], BLUE)) == 0


@pytest.mark.parametrize(("plane", "expected"), [(Plane.axial, "LP"), (Plane.coronal, "LI"), (Plane.sagittal, "PI")])
def test_letters_point_where_the_patient_does(plane: Plane, expected: str) -> None:
    assert directions(Phantom(plane=plane, tilt_deg=(11.0, -8.0, 14.0)).grid) == tuple(expected)
    assert [opposite(letter) for letter in "RLAPIS"] == list("LRPASI")


def test_nothing_outlined_is_nothing_to_draw() -> None:
    with pytest.raises(OutputError, match="nothing to draw"):
        predicted(replace(Phantom(), lesion_radii_mm=(0.0, 0.0, 0.0))).to_dicom_sc()
