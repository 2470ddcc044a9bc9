from __future__ import annotations

import logging
import traceback
import warnings
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR

from clinical_phantoms import Phantom, Sequence
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import StudyFailure

SMALL = Phantom(shape=(4, 12, 14), spacing_mm=(30.0, 19.0, 17.0))
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
