from __future__ import annotations

import logging
import traceback
import warnings
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from clinical_phantoms import Phantom, Sequence
from tumorctl.io.dicom.privacy import may_show, secrets_in
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import StudyFailure

SMALL = Phantom(shape=(4, 20, 22), spacing_mm=(30.0, 10.0, 9.0))
PLANTED = "Zyxwv"
TEXTS = (
    *("PatientName", "PatientID", "PatientComments", "AccessionNumber", "StudyID", "StudyDescription"),
    *("InstitutionName", "ReferringPhysicianName", "ProtocolName", "SequenceName", "ImageComments", "OperatorsName"),
    *("SeriesDescription", "StationName", "PatientAddress", "OtherPatientNames", "ContrastBolusAgent", "AdmissionID"),
)
SPOILERS = {
    "nothing": lambda each: None,
    "gap": lambda each: setattr(each, "ImagePositionPatient", [0, 0, 9999]),
    "pixels": lambda each: setattr(each, "PixelData", each.PixelData[:20]),
    "no pixels": lambda each: delattr(each, "PixelData"),
    "modality": lambda each: setattr(each, "Modality", "CT"),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_nothing_typed_in_a_header_is_said(
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [PLANTED]
    folder = tmp_path / "named" / f"{PLANTED}^Anna"
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sequence in Sequence:
            for number, instance in enumerate(SMALL.instances(sequence)):
                plant(instance, sequence)
                secrets += [str(instance.StudyInstanceUID), str(instance.SOPInstanceUID), "29990131"]
                if number == 2:
                    SPOILERS[name](instance)
                instance.save_as(folder / f"{PLANTED}-{sequence.name}-{number}", enforce_file_format=True)
        (folder / f"{PLANTED}.odd").write_bytes(bytes(128) + b"DICM" + PLANTED.encode() * 9)
    # Writing the files said a lot already.
    caplog.clear()
    recwarn.clear()
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        studies = list(read_dicom([tmp_path]))
    said = [repr(studies), *(str(record.getMessage()) for record in caplog.records)]
    said += [*(str(warning.message) for warning in recwarn), *capfd.readouterr()]
    for study in studies:
        if isinstance(study, StudyFailure):
            said += [study.study, *traceback.format_exception(study.error)]
            chain: BaseException | None = study.error
            while chain is not None:
                said.append(str(chain))
                chain = chain.__cause__ or chain.__context__
        else:
            assert name == "nothing"
            said += [study.study, *study.warnings, *(choice.reason for _, choice in study.chosen.values())]
    for secret in secrets:
        assert not [text for text in said if secret.lower() in text.lower()]


def plant(instance: Dataset, sequence: Sequence) -> None:
    """Put secrets into all texts, and odd values where the standard wants dates, codes and numbers."""
    for keyword in TEXTS:
        setattr(instance, keyword, f"{PLANTED} {keyword}")
    if sequence is Sequence.flair:
        instance.SeriesDescription = f"{PLANTED} FLAIR {PLANTED}"
    instance.StudyDate = instance.PatientBirthDate = "29990131"
    instance.SpecificCharacterSet = PLANTED
    for keyword in ("BodyPartExamined", "PatientSex", "PatientAge", "StudyTime", "ScanOptions", "SeriesNumber"):
        if keyword in instance:
            instance.add_new(keyword, "LO" if dictionary_VR(keyword) == "IS" else "CS", f"{PLANTED.lower()} !")
    instance.add_new(0x00101030, "LO", f"{PLANTED} kg")
    instance.add_new(0x00091001, "LO", PLANTED)


def test_a_folder_is_named_where_it_tells_nothing(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "case 7")
    assert [study.study for study in read_dicom([tmp_path])] == ["case 7"]
    for path in (tmp_path / "case 7").iterdir():
        dataset = dcmread(path)
        dataset.PatientID = "CASE-7"
        dataset.save_as(path)
    assert [study.study for study in read_dicom([tmp_path])] == ["study 1"]


def header(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"PatientName": "M\u00fcll\u00e9r^Jo"}, "Mu\u0308lle\u0301r_scan"),
        ({"PatientName": "Müller^Jo"}, "Mueller_x"),
        ({"PatientName": "Müller^Jo"}, "muller"),
        ({"PatientName": "Mueller^Jo"}, "MÜLLER"),
        ({"PatientName": "Mueller^Jo"}, "xmullerx"),
        ({"PatientName": "Weiß^Jo"}, "Weiss"),
        ({"PatientName": "Åbjørn^Jo"}, "Aabjoern"),
        ({"PatientName": "Eva^Jo"}, "blueva"),
        ({"PatientName": "Größl^Jo".encode().decode("latin-1")}, "Größl"),
        ({"PatientName": "Lopez-Garcia^Jo"}, "garcia_scan"),
        ({"PatientName": "Wu^Li"}, "Wu"),
        ({"PatientName": "Wu^Li"}, "scan-li-2"),
        ({"PatientName": "山田^太郎"}, "山田"),
        ({"PatientID": "12"}, "p12"),
        ({"PatientID": "0012345"}, "p12345"),
        ({"PatientBirthDate": "19700115"}, "15.01.1970"),
        ({"PatientBirthDate": "19700115"}, "1970-01-15"),
        ({"PatientBirthDate": "19700105"}, "born 5.1.1970"),
        ({"PatientBirthDate": "19700115"}, "Jan1970_15"),
        ({"StudyDate": "20240229"}, "29-02-2024"),
        ({"StudyDate": "20240229"}, "02/29/24"),
        ({"StudyDate": "20240229"}, "mr 240229"),
        ({"OtherPatientIDs": ["A77", "B88"]}, "b-88"),
        ({"OtherPatientIDsSequence": [header(PatientID="C99X")]}, "c99x"),
        ({"AdmissionID": "ADM77"}, "ADM77"),
        ({"OperatorsName": ["Opera^Tor", "Second^Person"]}, "second"),
        ({"PerformingPhysicianName": "House^Greg"}, "DrHouse"),
        ({"StationName": "Station7"}, "station 7"),
    ],
)
def test_what_names_someone_is_not_shown(values: dict[str, object], name: str) -> None:
    assert not may_show(name, secrets_in(header(**values)))


@pytest.mark.parametrize("name", ["case 7", "IM0012", "flair", "series-112", "2024", "unwuchtig"])
def test_what_names_nobody_is_shown(name: str) -> None:
    secrets = secrets_in(
        header(PatientName="Wu^Li^J", PatientID="12", PatientBirthDate="19700115", StudyDate="20240229", StudyID="1")
    )
    assert may_show(name, secrets)


def test_a_file_that_is_called_by_its_uid_is_not_named(tmp_path: Path) -> None:
    for instance in SMALL.instances(Sequence.flair):
        del instance.PixelData
        instance.save_as(tmp_path / f"MR.{instance.SOPInstanceUID}", enforce_file_format=True)
    (study,) = read_dicom([tmp_path])
    assert isinstance(study, StudyFailure)
    assert "of 4 has no pixels" in str(study.error)


def test_an_odd_value_is_private_and_no_damage() -> None:
    each = SMALL.instances(Sequence.flair)[0]
    each._dict[Tag("OperatorsName")] = RawDataElement(Tag("OperatorsName"), "PN", 8, b"Zyx^Wv\\Q", 0, False, True)
    each._dict[Tag("PatientBirthDate")] = RawDataElement(Tag("PatientBirthDate"), "FL", 3, b"Abc", 0, False, True)
    secrets = secrets_in(each)
    assert not may_show("zyx", secrets)
    assert not may_show("abc", secrets)
