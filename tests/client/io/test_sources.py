"""Studies in zip files, read as sources."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from clinical_phantoms import Phantom
from tumorctl.io.series import SeriesRole, StudyInput
from tumorctl.io.sources import Format, find_sources, read_source

SMALL = Phantom(shape=(6, 24, 28), spacing_mm=(25.0, 9.6, 8.2), patient="SECRET42")


def packed(folder: Path, archive: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(folder.iterdir()):
            made.write(file, f"{inside}{file.name}")
    return archive


def read_whole(path: Path) -> StudyInput:
    (source,) = find_sources([path])
    (study,) = read_source(source)
    assert isinstance(study, StudyInput), study
    return study


def test_a_zipped_study_in_dicom_is_read_like_its_folder(tmp_path: Path) -> None:
    folder = SMALL.write(tmp_path / "head")
    archive = packed(folder, tmp_path / "head.zip")
    (source,) = find_sources([archive])
    assert (source.name, source.format) == ("head", Format.archive)
    zipped, plain = read_whole(archive), read_whole(folder)
    assert zipped.study == plain.study == "head"
    assert set(zipped.chosen) == set(SeriesRole)
    for role, (series, choice) in zipped.chosen.items():
        same, same_choice = plain.chosen[role]
        assert choice == same_choice
        np.testing.assert_array_equal(series.volume.voxels, same.volume.voxels)
        assert series.volume.grid == same.volume.grid
        assert [each.SOPInstanceUID for each in series.instances] == [each.SOPInstanceUID for each in same.instances]


@pytest.mark.parametrize(
    ("archive", "inside", "name"),
    [
        ("one.zip", "", "one"),
        ("one.zip", "DICOM/", "one/DICOM"),
        # Names that hold something of the patient are not told.
        ("phantom-secret42.zip", "", "study 1"),
        ("one.zip", "PHANTOM-SECRET42/", "study 1"),
    ],
)
def test_studies_are_named_after_their_archive(archive: str, inside: str, name: str, tmp_path: Path) -> None:
    folder = SMALL.write(tmp_path / "files")
    assert read_whole(packed(folder, tmp_path / archive, inside)).study == name
