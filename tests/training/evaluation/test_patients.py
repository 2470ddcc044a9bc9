from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tumor_training.evaluation.patients import Part, choose, trained_on
from tumor_training.evaluation.provenance import Provenance, read_provenance
from tumor_training.splits import Split, read_split
from tumorctl.config import bundled_repository
from tumorctl.errors import InvalidInput, LeakedPatients, ModelError


@pytest.fixture
def provenance(made_split: Split) -> Provenance:
    """Networks trained on folds 1 and 2 of the made-up split."""
    return Provenance(
        version="1",
        digests={"tumor_classifier": "c", "tumor_segmenter": "s"},
        thresholds={"gate": 0.1, "mask": 0.5},
        temperature=1.0,
        offset=0.0,
        split_sha256=made_split.digest,
        fold=0,
        training={},
        parity={},
        validation={},
        mirror=False,
        tools={},
    )


def test_other_folds_trained(provenance: Provenance, made_split: Split) -> None:
    assert trained_on(provenance, made_split) == {*made_split.folds[1], *made_split.folds[2]}


def test_without_a_fold_all_development_patients_trained(provenance: Provenance, made_split: Split) -> None:
    assert trained_on(replace(provenance, fold=None), made_split) == set(made_split.development)


def test_the_committed_split_is_looked_at_too(provenance: Provenance, made_split: Split) -> None:
    shipped = replace(provenance, split_sha256=read_split().digest, fold=2)
    assert trained_on(shipped, made_split) == set(read_split().train(2))


@pytest.mark.parametrize("digest", [None, "another"])
def test_with_an_unknown_split_any_patient_may_have_trained(
    provenance: Provenance, made_split: Split, made_patients: Path, digest: str | None
) -> None:
    unknown = replace(provenance, split_sha256=digest)
    with pytest.raises(LeakedPatients, match="not at hand"):
        trained_on(unknown, made_split)
    with pytest.raises(LeakedPatients, match="--allow-training-patients"):
        choose(made_patients, Part.test, None, made_split, unknown)
    allowed = choose(made_patients, Part.test, None, made_split, unknown, allow_training=True)
    assert allowed.trained == made_split.test


def test_a_split_that_leaks_is_refused() -> None:
    with pytest.raises(LeakedPatients, match="the split leaks: a on more than one side"):
        Split(test=("a",), folds=(("a", "b"), ("c",)))


def test_parts_are_those_of_the_split(provenance: Provenance, made_split: Split, made_patients: Path) -> None:
    judged = choose(made_patients, Part.test, None, made_split, provenance)
    assert (tuple(judged.slices), judged.fold, judged.trained) == (made_split.test, None, ())
    validation = choose(made_patients, Part.validation, None, made_split, provenance)
    assert (tuple(validation.slices), validation.fold) == (made_split.folds[0], 0)
    assert [item.number for item in validation.slices[made_split.folds[0][0]]] == [1, 2, 3, 4]
    assert validation.folders == {patient: made_patients / patient for patient in made_split.folds[0]}


def test_a_fold_that_trained_is_refused_unless_allowed(
    provenance: Provenance, made_split: Split, made_patients: Path
) -> None:
    with pytest.raises(LeakedPatients, match="2 of 2 patients trained these networks"):
        choose(made_patients, Part.validation, 1, made_split, provenance)
    allowed = choose(made_patients, Part.validation, 1, made_split, provenance, allow_training=True)
    assert (allowed.fold, allowed.trained) == (1, made_split.folds[1])


def test_when_all_development_patients_trained_validation_is_refused(
    provenance: Provenance, made_split: Split, made_patients: Path
) -> None:
    final = replace(provenance, fold=None)
    with pytest.raises(LeakedPatients, match="trained these networks"):
        choose(made_patients, Part.validation, None, made_split, final)
    assert choose(made_patients, Part.test, None, made_split, final).trained == ()


def test_all_patients_found_are_judged_unless_one_trained(
    provenance: Provenance, made_split: Split, made_patients: Path, own_patients: Path
) -> None:
    with pytest.raises(LeakedPatients, match="3 of 6 patients"):
        choose(made_patients, Part.all, None, made_split, provenance)
    everyone = choose(made_patients, Part.all, None, made_split, provenance, allow_training=True)
    assert len(everyone.slices) == 6
    assert set(everyone.trained) == {*made_split.folds[1], *made_split.folds[2]}
    # Patients of one's own, in folders below, whom no split names.
    for number, patient in enumerate([*made_split.folds[1], *made_split.folds[2]]):
        (own_patients / "ours").mkdir(exist_ok=True)
        (own_patients / patient).rename(own_patients / "ours" / f"patient-{number}")
    mine = choose(own_patients, Part.all, None, made_split, provenance)
    assert {"patient-0", "patient-1", "patient-2"} < set(mine.slices)
    assert mine.folders["patient-0"] == own_patients / "ours" / "patient-0"
    assert (mine.trained, mine.fold) == ((), None)


def test_a_folder_of_slices_can_be_the_data_itself(
    provenance: Provenance, made_split: Split, made_patients: Path
) -> None:
    patient = made_split.test[0]
    assert tuple(choose(made_patients / patient, Part.all, None, made_split, provenance).slices) == (patient,)


def test_a_fold_goes_with_validation_only(provenance: Provenance, made_split: Split, made_patients: Path) -> None:
    with pytest.raises(InvalidInput, match="--part validation only"):
        choose(made_patients, Part.test, 0, made_split, provenance)


def test_a_patient_without_folder_is_refused(provenance: Provenance, made_split: Split, own_patients: Path) -> None:
    shutil.rmtree(own_patients / made_split.test[0])
    with pytest.raises(InvalidInput, match=f"no folder of {made_split.test[0]}"):
        choose(own_patients, Part.test, None, made_split, provenance)


def test_missing_labels_are_told_before_anything_is_computed(
    provenance: Provenance, made_split: Split, own_patients: Path
) -> None:
    patient = made_split.test[0]
    for number in (1, 3):
        (own_patients / patient / f"{patient}_{number}_mask.tif").unlink()
    with pytest.raises(InvalidInput, match=f"no label {patient}_1_mask.tif \\(2 missing\\)"):
        choose(own_patients, Part.test, None, made_split, provenance)


def test_a_folder_within_a_patients_folder_and_one_name_for_two_are_refused(
    provenance: Provenance, made_split: Split, own_patients: Path
) -> None:
    first, second = made_split.folds[0]
    (own_patients / "copies").mkdir()
    shutil.copytree(own_patients / first, own_patients / "copies" / first)
    with pytest.raises(InvalidInput, match="a name of its own"):
        choose(own_patients, Part.all, None, made_split, provenance, allow_training=True)
    shutil.rmtree(own_patients / "copies")
    shutil.move(own_patients / second, own_patients / first)
    with pytest.raises(InvalidInput, match="one folder of slices"):
        choose(own_patients, Part.all, None, made_split, provenance, allow_training=True)


def test_the_shipped_manifest_names_the_committed_split() -> None:
    shipped = read_provenance(bundled_repository())
    assert shipped.split_sha256 == read_split().digest
    assert not trained_on(shipped, read_split()) & set(read_split().test)
    assert shipped.digests.keys() == {"tumor_classifier", "tumor_segmenter"}
    assert shipped.training.keys() == {"tumor_classifier", "tumor_segmenter", "tumor_segmenter.second"}


@pytest.mark.parametrize("entry", [{"sha256": "x", "fold": None}, {}, None])
def test_a_manifest_may_name_no_fold_and_no_split(tmp_path: Path, entry: dict[str, object] | None) -> None:
    content = json.loads((bundled_repository() / "manifest.json").read_text())
    content["split"] = entry
    del content["training"], content["temperature"], content["metrics"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    got = read_provenance(tmp_path)
    assert (got.split_sha256, got.fold) == ((entry or {}).get("sha256"), None)
    assert (got.training, got.temperature, got.validation) == ({}, None, {})


@pytest.mark.parametrize("entry", [[1], {"fold": "first"}])
def test_what_is_not_a_manifest_is_refused(tmp_path: Path, entry: object) -> None:
    content = json.loads((bundled_repository() / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "split": entry}))
    with pytest.raises(ModelError, match="is not a manifest"):
        read_provenance(tmp_path)
