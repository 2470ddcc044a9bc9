from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from clinical_phantoms import Phantom, Plane, Sequence
from tumorctl.errors import (
    InvalidInput,
    MissingFlair,
    OversizedInput,
    UnreadableStudy,
    UnusableSeries,
    WrongModality,
)
from tumorctl.io.dicom import files
from tumorctl.io.dicom.codestreams import declared_size
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import SeriesRole, StudyFailure, StudyInput

SMALL = Phantom(shape=(6, 24, 28), spacing_mm=(25.0, 9.6, 8.2))


def flair() -> list[Dataset]:
    return SMALL.instances(Sequence.flair)


def error(paths: list[Path | Dataset]) -> InvalidInput:
    (study,) = read_dicom(paths)
    assert isinstance(study, StudyFailure), study
    assert isinstance(study.error, InvalidInput)
    return study.error


def without_a_slice(instances: list[Dataset]) -> None:
    del instances[2]


def with_a_slice_twice(instances: list[Dataset]) -> None:
    again = SMALL.instances(Sequence.flair)[3]
    again.SOPInstanceUID = generate_uid(entropy_srcs=["again"])
    instances.append(again)


def with_one_turned(instances: list[Dataset]) -> None:
    instances[3].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def with_one_larger(instances: list[Dataset]) -> None:
    instances[-1].Rows = 25


def with_one_astray(instances: list[Dataset]) -> None:
    x, y, z = instances[3].ImagePositionPatient
    instances[3].ImagePositionPatient = [float(x) + 4, y, z]


def askew(instances: list[Dataset]) -> None:
    for number, each in enumerate(instances):
        x, y, z = each.ImagePositionPatient
        each.ImagePositionPatient = [float(x) + 3 * number, y, z]


def without_place(instances: list[Dataset]) -> None:
    for each in instances:
        del each.ImagePositionPatient


def with_odd_directions(instances: list[Dataset]) -> None:
    for each in instances:
        each.ImageOrientationPatient = [1, 0, 0, 0.5, 1, 0]


def without_pixels(instances: list[Dataset]) -> None:
    for each in instances:
        del each.PixelData


def of_two_slices(instances: list[Dataset]) -> None:
    del instances[2:]


def in_colour(instances: list[Dataset]) -> None:
    for each in instances:
        each.PhotometricInterpretation, each.SamplesPerPixel = "RGB", 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_a_slice, "a slice is missing: 50.00 mm lie between dataset 2 of 5 and dataset 3 of 5"),
        (with_a_slice_twice, "a slice is doubled: dataset 4 of 7 and dataset 7 of 7"),
        (with_one_turned, "1 of its 6 slices differ from the others in orientation"),
        (with_one_larger, "1 of its 6 slices differ"),
        (with_one_astray, "dataset 4 of 6 lies 4.00 mm from where"),
        (askew, "stacked askew"),
        (without_place, "does not tell where it lies"),
        (with_odd_directions, "not one that an image can have"),
        (without_pixels, "dataset 1 of 6 has no pixels"),
        (of_two_slices, "only 2 slices"),
        (in_colour, "does not hold grey values"),
    ],
)
def test_slices_that_make_no_volume(spoil: Callable[[list[Dataset]], None], message: str) -> None:
    instances = flair()
    spoil(instances)
    found = error([*instances])
    assert isinstance(found, UnusableSeries)
    assert message in str(found)
    assert str(found).startswith("series 1 of 1: ")


@pytest.mark.parametrize(
    ("pixel_mm", "slice_mm", "message"),
    [
        (0.01, 25, "0.01 mm between pixels"),
        (12, 25, "12 mm between pixels"),
        (9, 0.05, "0.05 mm between slices"),
        (9, 55, "55 mm between slices"),
    ],
)
def test_sizes_that_no_head_has(pixel_mm: float, slice_mm: float, message: str) -> None:
    instances = flair()
    for number, each in enumerate(instances):
        each.PixelSpacing = [pixel_mm, pixel_mm]
        each.ImagePositionPatient = [0, 0, number * slice_mm]
    found = error([*instances])
    assert isinstance(found, UnusableSeries)
    assert message in str(found)
    assert "implausible" in str(found)


def test_a_head_longer_than_a_metre() -> None:
    found = error([*Phantom(shape=(4, 120, 8), spacing_mm=(25.0, 9.6, 8.2)).instances(Sequence.flair)])
    assert isinstance(found, UnusableSeries)
    assert "1152 mm long, which is implausible" in str(found)


@pytest.mark.parametrize(
    ("told", "others"),
    [
        ({"PatientID": "A-1"}, {"PatientID": "A-2"}),
        ({"PatientID": "", "PatientName": "Doe^Jane"}, {"PatientID": "", "PatientName": "Roe^Richard"}),
        ({"PatientID": "", "PatientName": "Doe^Jane"}, {"PatientID": "A-2", "PatientName": "Roe^Richard"}),
        ({"PatientID": "A-1", "StudyInstanceUID": ""}, {"PatientID": "A-2", "StudyInstanceUID": ""}),
    ],
    ids=["numbers", "names", "a number is missing", "no study"],
)
def test_two_patients_in_one_study(tmp_path: Path, told: dict[str, str], others: dict[str, str]) -> None:
    for sequence, values in ((Sequence.flair, told), (Sequence.t1_post, others)):
        for number, each in enumerate(SMALL.instances(sequence)):
            for keyword, value in values.items():
                setattr(each, keyword, value)
            each.save_as(tmp_path / f"{sequence.name}{number}", enforce_file_format=True)
    found = error([tmp_path])
    assert isinstance(found, UnreadableStudy)
    assert "different patients" in str(found)
    assert not [value for value in (*told.values(), *others.values()) if value and value in str(found)]


@pytest.mark.parametrize(
    "others", [{"PatientID": "phantom-1 "}, {"PatientID": ""}, {"PatientName": "PHÄNTOM^TEST1^^"}], ids=str
)
def test_one_patient_written_differently(others: dict[str, str]) -> None:
    t1 = SMALL.instances(Sequence.t1_post)
    for each in t1:
        for keyword, value in others.items():
            setattr(each, keyword, value)
    (study,) = read_dicom([*flair(), *t1])
    assert isinstance(study, StudyInput)
    assert len(study.chosen) == 2


def test_folders_without_study_are_apart_also_where_each_is_named(tmp_path: Path) -> None:
    for patient in "12":
        folder = Phantom(shape=(6, 24, 28), spacing_mm=SMALL.spacing_mm, patient=patient).write(tmp_path / patient)
        for path in folder.iterdir():
            dataset = dcmread(path)
            dataset.StudyInstanceUID = ""
            dataset.save_as(path)
    assert [type(study) for study in read_dicom([tmp_path / "1", tmp_path / "2"])] == [StudyInput, StudyInput]


def test_files_without_study_that_are_named_one_by_one_are_together(tmp_path: Path) -> None:
    instances = flair()
    for number, each in enumerate(instances):
        each.StudyInstanceUID = ""
        each.save_as(tmp_path / f"{number}", enforce_file_format=True)
    (study,) = read_dicom(sorted(tmp_path.iterdir()))
    assert isinstance(study, StudyInput)


def test_a_file_is_named(tmp_path: Path) -> None:
    instances = flair()
    for number, each in enumerate(instances):
        if number != 2:
            each.save_as(tmp_path / f"IM{number:04d}", enforce_file_format=True)
    assert "between IM0001 and IM0003" in str(error([tmp_path]))


def test_a_copied_file_is_a_doubled_slice(tmp_path: Path) -> None:
    SMALL.write(tmp_path, sequences=(Sequence.flair,))
    (tmp_path / "copy").write_bytes((tmp_path / "IM0002").read_bytes())
    assert "doubled" in str(error([tmp_path]))


def test_a_folder_named_twice_is_read_once(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scan")
    (study,) = read_dicom([tmp_path, tmp_path / "scan", tmp_path / "scan" / "IM0001"])
    assert isinstance(study, StudyInput)


def test_a_study_of_another_modality() -> None:
    instances = flair()
    for each in instances:
        each.Modality, each.SOPClassUID = "CT", CTImageStorage
    found = error([*instances])
    assert isinstance(found, WrongModality)
    assert "6 of modality CT" in str(found)


def test_localisers_alone() -> None:
    instances: list[Dataset] = []
    for place, plane in enumerate(Plane):
        slices = Phantom(plane=plane, shape=(3, 24, 28)).instances(Sequence.t1_pre)
        for each in slices:
            each.StudyInstanceUID, each.SeriesNumber = "1.2.3", 1
            each.SeriesInstanceUID = "1.2.3.4" if place < 2 else "1.2.3.5"
            each.SeriesDescription, each.ImageType = "Loc", ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        instances += slices
    found = error([*instances])
    assert isinstance(found, MissingFlair)
    assert str(found).count("localiser") == 3
    assert "--flair" in str(found)


def test_results_and_other_objects_are_passed_over(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scan")
    for number, (modality, sop_class) in enumerate(
        [
            ("SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
            ("SR", "1.2.840.10008.5.1.4.1.1.88.34"),
            ("DOC", "1.2.840.10008.5.1.4.1.1.104.1"),
            ("OT", "1.2.840.10008.5.1.4.1.1.7.4"),
            ("MR", "1.2.840.10008.5.1.4.1.1.7.4"),
        ]
    ):
        result = flair()[0]
        result.Modality, result.SOPClassUID = modality, sop_class
        result.SOPInstanceUID = generate_uid()
        for folder in ("scan", "results"):
            (tmp_path / folder).mkdir(exist_ok=True)
            result.save_as(tmp_path / folder / f"result{number}", enforce_file_format=True)
    (study,) = read_dicom([tmp_path])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == set(SeriesRole)
    assert "results and other objects" in str(error([tmp_path / "results"]))


def test_an_unknown_transfer_syntax(tmp_path: Path) -> None:
    for number, each in enumerate(flair()):
        each.file_meta.TransferSyntaxUID = HTJ2KLossless
        each.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
        each.save_as(tmp_path / f"{number}", enforce_file_format=True)
    found = error([tmp_path])
    assert isinstance(found, UnreadableStudy)
    assert "transfer syntax that cannot be decoded" in str(found)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, keep: float) -> None:
    SMALL.write(tmp_path / "scan", sequences=(Sequence.flair,))
    victim = sorted((tmp_path / "scan").iterdir())[4]
    content = victim.read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00")
    victim.write_bytes(content[: start + int(keep * (len(content) - start))])
    found = error([tmp_path])
    assert isinstance(found, UnreadableStudy)
    assert "scan/IM0004 are damaged or cut off" in str(found)


def test_a_damaged_header_beside_a_study_is_told(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scan")
    (tmp_path / "scan" / "odd").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff")
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "odd").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff")
    study, failed = read_dicom([tmp_path])
    assert isinstance(study, StudyInput)
    assert [text for text in study.warnings if "cannot be read, scan/odd the first" in text]
    assert isinstance(failed, StudyFailure)
    assert failed.study == "apart/odd"
    missing = sorted((tmp_path / "scan").glob("IM*"))
    for path in missing:
        if dcmread(path).SeriesNumber == 3 and dcmread(path).InstanceNumber == 3:
            path.unlink()
    broken = next(iter(read_dicom([tmp_path / "scan"])))
    assert isinstance(broken, StudyFailure)
    assert "a slice is missing" in str(broken.error)
    assert "odd the first" in str(broken.error)


def test_another_candidate_takes_the_place_of_a_broken_one() -> None:
    broken = Phantom(shape=(12, 24, 28)).instances(Sequence.flair)
    del broken[4]
    for each in broken:
        each.StudyInstanceUID = flair()[0].StudyInstanceUID
        each.SeriesNumber = 9
    t1 = SMALL.instances(Sequence.t1_pre)
    del t1[2]
    (study,) = read_dicom([*broken, *flair(), *t1])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == {SeriesRole.flair}
    assert study.chosen[SeriesRole.flair][0].name == "series 2 of 3"
    assert [text.split(":")[0] for text in study.warnings] == ["series 1 of 3", "series 3 of 3"]


def test_what_may_not_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SMALL.write(tmp_path / "scan")
    (tmp_path / "scan" / "closed").touch()
    # Root may open anything, so the answer of the operating system is made up.
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and access(path, mode))
    (study,) = read_dicom([tmp_path])
    assert isinstance(study, StudyInput)
    assert study.warnings == (
        "a file beside the study's cannot be read, scan/closed the first: cannot be opened: no permission; "
        "make it readable; slices may be missing",
    )


def test_declared_sizes_are_checked_before_anything_is_decoded() -> None:
    instances = flair()
    for each in instances:
        each.Rows = each.Columns = 65535
    tracemalloc.start()
    found = error([*instances])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, OversizedInput)
    assert peak < 50e6


def test_declared_frames_are_checked() -> None:
    enhanced = SMALL.multi_frame(Sequence.flair)
    enhanced.NumberOfFrames = 2_000_000_000
    (study,) = read_dicom([enhanced])
    assert isinstance(study, StudyFailure)
    assert isinstance(study.error, OversizedInput)
    assert "2,000,000,000 frames" in str(study.error)


def test_a_compressed_image_larger_than_declared_is_not_decoded() -> None:
    instances = flair()
    large = Phantom(shape=(3, 96, 112)).instances(Sequence.flair)[0]
    large.compress(JPEGLSLossless)
    instances[2].compress(JPEGLSLossless)
    instances[2].PixelData = large.PixelData
    assert "not of the size that its header declares" in str(error([*instances]))


def test_a_run_length_bomb_is_refused() -> None:
    instances = flair()
    instances[2].compress(RLELossless)
    header = struct.pack("<16L", 2, 64, 64 + 200_000, *[0] * 13)
    instances[2].PixelData = encapsulate([header + b"\x81\x00" * 200_000])
    assert isinstance(error([*instances]), UnreadableStudy)


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_OBJECT_BYTES", 1 << 20)
    path = tmp_path / "bomb"
    each = flair()[0]
    each.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    each.save_as(path, enforce_file_format=True)
    meta = 132 + 12 + int(dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(path.read_bytes()[:meta] + packer.compress(bytes(50 << 20)) + packer.flush())
    assert path.stat().st_size < 1 << 20
    assert isinstance(error([tmp_path]), OversizedInput)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd8\xff\xf7\x00\x0b"]))
def test_any_bytes_have_a_size_or_none(content: bytes, start: bytes) -> None:
    size = declared_size(start + content)
    assert size is None or len(size) == 3


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_damage_is_a_failure_or_a_study(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    tiny = Phantom(shape=(3, 4, 5), spacing_mm=(40.0, 10.0, 10.0))
    tiny.write(folder, sequences=(Sequence.flair,))
    victim = folder / "IM0001"
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(content)
    for study in read_dicom([folder]):
        if isinstance(study, StudyInput):
            assert np.isfinite(study.chosen[SeriesRole.flair][0].volume.voxels).all()
