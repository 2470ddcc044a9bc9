from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from clinical_phantoms import Phantom
from predictions import predicted
from tumorctl.errors import MissingExtra
from tumorctl.study import StudyPrediction

SMALL = Phantom(shape=(18, 32, 36), spacing_mm=(10.0, 7.2, 6.4))


def test_a_prediction_is_measured_once_and_cannot_be_changed() -> None:
    prediction = predicted(SMALL)
    assert prediction.measurements is prediction.measurements
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.tumor_probability = 0.1  # type: ignore[misc]
    emptied = dataclasses.replace(prediction, mask=prediction.mask & False)
    assert emptied.measurements.volume_ml == 0  # not those of the one it was made from


def test_a_prediction_becomes_plain_json() -> None:
    prediction = predicted(SMALL)
    plain = prediction.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["measurements"]["laterality"] == "left"
    assert plain["engine"]["model_digests"] == prediction.engine.model_digests
    assert len(plain["slice_probabilities"]) == SMALL.shape[0]


@pytest.mark.parametrize(
    ("library", "modules", "use"),
    [
        ("highdicom", ("outputs.dicom.seg", "outputs.dicom.source"), StudyPrediction.to_dicom_seg),
        ("highdicom", ("outputs.dicom.sr", "outputs.dicom.source"), StudyPrediction.to_dicom_sr),
        ("highdicom", ("outputs.dicom.sc", "outputs.dicom.source"), StudyPrediction.to_dicom_sc),
        ("nibabel", ("outputs.nifti",), lambda prediction: prediction.to_nifti(Path("mask.nii"))),
        ("scipy", (), StudyPrediction.to_dict),
    ],
)
def test_without_the_clinical_part_its_pip_command_is_named(
    library: str, modules: tuple[str, ...], use: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = predicted(SMALL)
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    for module in modules:
        monkeypatch.delitem(sys.modules, f"tumorctl.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert callable(use)
    with pytest.raises(MissingExtra, match=r"pip install 'tumorctl\[clinical\]'"):
        use(prediction)
