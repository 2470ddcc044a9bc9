"""Studies found and read as sources: in zip files, by the files that are named, and those that cannot be used."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from clinical_phantoms import Phantom, Sequence
from nobody import as_nobody
from tumorctl.errors import InvalidInput, NoSuchSeries
from tumorctl.io.series import SeriesRole, StudyFailure, StudyInput
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


NIFTI = replace(SMALL, shape=(6, 40, 44))


def flair(folder: Path, name: str = "flair.nii.gz", phantom: Phantom = NIFTI) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    voxels = phantom.voxels(Sequence.flair).transpose(2, 1, 0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, phantom.grid.affine_ras[:, (2, 1, 0, 3)]), folder / name)
    return folder / name


def outcomes(*paths: Path, named: dict[SeriesRole, str] | None = None) -> dict[str, str]:
    """The error of each study by its name, empty where it can be used."""
    found = [study for source in find_sources(paths) for study in read_source(source, named)]
    told = {each.study: str(each.error) if isinstance(each, StudyFailure) else "" for each in found}
    assert len(told) == len(found)
    return told


def test_a_file_that_is_named_is_the_studys_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another patient's FLAIR of the same name lies in the current folder.
    flair(tmp_path / "study")
    other = flair(tmp_path / "here", phantom=replace(NIFTI, lesion_center_lps=(-36.0, -14.0, 27.0)))
    monkeypatch.chdir(tmp_path / "here")
    (source,) = find_sources([tmp_path / "study"])
    (refused,) = read_source(source, {SeriesRole.flair: "flair.nii.gz"})
    assert isinstance(refused, StudyFailure)
    assert isinstance(refused.error, NoSuchSeries)
    assert "--flair: there is a file flair.nii.gz in the study's folder and another" in str(refused.error)
    for name in (str(tmp_path / "study" / "flair.nii.gz"), str(other), "../study/flair.nii.gz"):
        (study,) = read_source(source, {SeriesRole.flair: name})
        assert isinstance(study, StudyInput), study
        shown = study.chosen[SeriesRole.flair][0].volume.voxels
        assert np.array_equal(shown, NIFTI.voxels(Sequence.flair)) is (name != str(other))
    other.unlink()
    assert outcomes(tmp_path / "study", named={SeriesRole.flair: "flair.nii.gz"}) == {"study": ""}
    flair(tmp_path / "here", "only-here.nii.gz")
    assert outcomes(tmp_path / "study", named={SeriesRole.flair: "only-here.nii.gz"}) == {"study": ""}
    monkeypatch.chdir(tmp_path / "study")
    assert outcomes(tmp_path / "study", named={SeriesRole.flair: "flair.nii.gz"}) == {"study": ""}


@pytest.mark.parametrize(
    ("name", "content", "study", "said"),
    [
        ("a.zip", b"", "in/a", "a.zip: .*empty file"),
        ("a.zip", b"<html>Log in</html>", "in/a", "a.zip: .*damaged"),
        ("a.dcm", b"", "in/a.dcm", "a.dcm: empty file"),
        ("A.DCM", b"<html>Log in</html>", "in/A.DCM", "A.DCM: not a DICOM file"),
        ("a.ima", b"<html>Log in</html>", "in/a.ima", "a.ima: not a DICOM file"),
        ("flair.nii.gz", b"", "in", "flair.nii.gz: empty file"),
        ("flair.nii.gz", b"<html>Log in</html>", "in", "flair.nii.gz: not a NIfTI file"),
        ("flair.hdr", b"any", "in/flair.hdr", "convert them to .nii.gz"),
        ("flair.img.gz", b"any", "in/flair.img.gz", "convert them to .nii.gz"),
    ],
)
def test_what_is_meant_as_a_study_does_not_vanish(
    name: str, content: bytes, study: str, said: str, tmp_path: Path
) -> None:
    flair(tmp_path / "sound")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "notes.txt").write_bytes(b"nothing")
    found = outcomes(tmp_path)
    assert set(found) == {"sound", study}
    assert not found["sound"]
    told = pytest.raises(InvalidInput, match=said)
    with told:
        raise InvalidInput(found[study])
    (alone,) = outcomes(tmp_path / "in" / name).values()
    with told:
        raise InvalidInput(alone)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as made:
        made.write(tmp_path / "in" / name, f"in/{name}")
    (zipped,) = outcomes(tmp_path / "all.zip").values()
    assert zipped


def test_a_zip_inside_a_zip_does_not_vanish(tmp_path: Path) -> None:
    packed(flair(tmp_path / "files").parent, tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as made:
        made.write(tmp_path / "inner.zip", "deeper/inner.zip")
        made.write(tmp_path / "files" / "flair.nii.gz", "sound/flair.nii.gz")
    found = outcomes(tmp_path / "outer.zip")
    assert found["outer/sound"] == ""
    assert "a zip file inside another" in found["outer/deeper/inner"]


def test_many_files_that_cannot_be_used_are_one_row(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.dcm").touch()
    assert outcomes(tmp_path) == {"0.dcm": "0.dcm: empty file (0 bytes); 8 more of its folder cannot be read either"}


def test_a_pair_that_was_converted_is_passed_over(tmp_path: Path) -> None:
    flair(tmp_path / "study")
    for name in ("flair.hdr", "flair.img", "._flair.dcm", "._other.hdr"):
        (tmp_path / "study" / name).write_bytes(b"any")
    assert outcomes(tmp_path / "study") == {"study": ""}
    (tmp_path / "study" / "flair.nii.gz").unlink()
    assert list(outcomes(tmp_path)) == ["study/flair.hdr"]


def test_links_that_lead_nowhere_and_pipes_end_nothing(tmp_path: Path) -> None:
    flair(tmp_path / "sound")
    for folder in ("gone", "circle", "pipe"):
        (tmp_path / folder).mkdir()
        for name in ("IM1", "flair.nii.gz", "a.zip", "b.dcm", "c.png"):
            path = tmp_path / folder / name
            if folder == "pipe":
                os.mkfifo(path)
            else:
                path.symlink_to(path if folder == "circle" else tmp_path / "nowhere")
    found = outcomes(tmp_path)
    studies = {f"{folder}{name}" for folder in ("gone", "circle") for name in ("", "/a", "/b.dcm")}
    assert set(found) == {"sound", *studies}
    assert all(found[name] for name in studies)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder with studies that the current user may not read; root becomes nobody meanwhile."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        flair(root / "nifti")
        for file in ("IM1", "IM2", "notes.txt", "a.zip", "b.dcm", "c_1_mask.png", "._b.dcm"):
            (root / "files").mkdir(exist_ok=True)
            (root / "files" / file).write_bytes(b"any")
        flair(root / "shut")
        flair(root / "bare")
        (root / "bare" / "IM1").touch()
        (root / "links").mkdir()
        for file in ("IM1", "flair.nii.gz", "a.zip", "b.dcm", "c.png", "folder"):
            (root / "links" / file).symlink_to(root / "shut" / file)
        root.chmod(0o755)
        shut = [root / "nifti" / "flair.nii.gz", *(root / "files").iterdir(), root / "shut"]
        for path in shut:
            path.chmod(0)
        (root / "bare").chmod(0o444)
        try:
            with as_nobody():
                yield root
        finally:
            for path in (*shut, root / "bare"):
                path.chmod(0o755)


def test_studies_without_permission_do_not_vanish_and_are_not_called_damaged(closed: Path) -> None:
    found = outcomes(closed)
    assert set(found) == {
        *("nifti", "bare", "bare/IM1", "files/a", "files/b.dcm", "files/IM1"),
        *("links", "links/a", "links/b.dcm", "links/IM1"),
    }
    assert all("ermission" in error for error in found.values())
    assert not any("damaged" in error for error in found.values())


@pytest.mark.parametrize("way", ["shut", "shut/flair.nii.gz", "shut/deeper", "links/IM1", "links/folder", "x" * 300])
def test_a_path_that_cannot_be_reached_is_an_error(closed: Path, way: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened"):
        list(find_sources([closed / way]))


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        list(find_sources([tmp_path / "absent"]))
