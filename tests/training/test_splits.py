from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumor_training.splits import Split, make_split, read_split, site_of
from tumorctl.errors import InvalidInput

SHARED_DATA = Path(os.environ.get("TUMORCTL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

patient_names = st.sets(
    st.builds(lambda site, number: f"TCGA_{site}_{number:04d}_20000101", st.sampled_from(["CS", "DU"]), st.integers(0)),
    min_size=6,
    max_size=40,
)


@pytest.mark.parametrize(
    ("patient", "site"),
    [("TCGA_CS_4941_19960909", "CS"), ("TCGA_FG", ""), ("someone_DU_1_2", ""), ("", "")],
)
def test_the_site_is_the_second_part_of_a_tcga_name(patient: str, site: str) -> None:
    assert site_of(patient) == site


@pytest.mark.parametrize(
    ("test", "folds"),
    [(("a",), (("a", "b"), ("c",))), (("a",), (("b",), ("c", "b"))), (("a", "a"), (("b",), ("c",)))],
    ids=["test and fold", "two folds", "twice in the test"],
)
def test_a_patient_on_both_sides_is_refused(test: tuple[str, ...], folds: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(InvalidInput, match=r"leaks: [ab] on"):
        Split(test=test, folds=folds)


def test_a_split_file_with_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"test": ["p"], "folds": [["p"], ["q"]]}))
    with pytest.raises(InvalidInput, match="leaks: p"):
        read_split(path)


@given(patients=patient_names, folds=st.integers(2, 5), seed=st.integers(0, 99), data=st.data())
def test_a_made_split_holds_every_patient_once_and_never_trains_on_who_validates(
    patients: set[str], folds: int, seed: int, data: st.DataObject
) -> None:
    test = data.draw(st.sets(st.sampled_from(sorted(patients)), max_size=len(patients) - folds))
    split = make_split(patients, test, folds=folds, seed=seed)
    assert Counter([*split.test, *split.development]) == Counter(patients)
    assert set(split.test) == test
    for fold in range(folds):
        assert not set(split.train(fold)) & {*split.validation(fold), *split.test}
        assert {*split.train(fold), *split.validation(fold)} == set(split.development)


@given(patients=patient_names, folds=st.integers(2, 5))
def test_sites_and_sizes_of_folds_differ_by_at_most_one_patient(patients: set[str], folds: int) -> None:
    split = make_split(patients, [], folds=folds)
    for count in (
        len,
        lambda fold: sum(site_of(p) == "CS" for p in fold),
        lambda fold: sum(site_of(p) == "DU" for p in fold),
    ):
        counts = [count(fold) for fold in split.folds]
        assert max(counts) - min(counts) <= 1


def test_the_seed_decides_the_split() -> None:
    patients = [f"TCGA_CS_{number}_1" for number in range(20)]
    assert make_split(patients, [], seed=3) == make_split(reversed(patients), [], seed=3)
    assert make_split(patients, [], seed=3) != make_split(patients, [], seed=4)


@pytest.mark.parametrize(("count", "folds"), [(3, 4), (5, 1), (0, 2)])
def test_too_few_patients_or_folds_are_refused(count: int, folds: int) -> None:
    with pytest.raises(InvalidInput, match=f"{folds} folds"):
        make_split([str(number) for number in range(count)], [], folds=folds)


def test_a_test_patient_without_data_is_refused() -> None:
    with pytest.raises(InvalidInput, match="without data: nobody"):
        make_split(["a", "b", "c"], ["a", "nobody"], folds=2)


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_is_not_there_is_refused(fold: int) -> None:
    split = Split(test=(), folds=(("a",), ("b",)))
    with pytest.raises(InvalidInput, match="folds 0 to 1"):
        split.train(fold)


def test_a_split_comes_back_from_its_file(made_split: Split, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(made_split.to_json())
    assert read_split(path) == made_split


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"test": [], "folds": 3}', '{"test": []}'])
def test_what_is_not_a_split_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="is not a split file"):
        read_split(path)


def test_a_missing_split_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a split file"):
        read_split(tmp_path / "none.json")


def test_the_committed_split_holds_each_of_88_patients_once() -> None:
    split = read_split()
    everyone = [*split.test, *split.development]
    assert len(split.test) == 18
    assert len(everyone) == len(set(everyone)) == 88


def test_every_committed_fold_has_the_large_sites() -> None:
    for fold in read_split().folds:
        assert {"CS", "DU", "HT"} <= {site_of(patient) for patient in fold}


def test_the_committed_test_patients_are_those_set_aside_with_the_data() -> None:
    path = SHARED_DATA / "lgg_test_patients.txt"
    if not path.is_file():
        pytest.skip(f"the list of test patients is not at {SHARED_DATA} (set TUMORCTL_TEST_DATA)")
    assert sorted(read_split().test) == sorted(path.read_text().split())


def test_the_digest_tells_splits_apart() -> None:
    split = read_split()
    assert read_split().digest == split.digest
    assert Split(test=split.test, folds=split.folds[::-1]).digest != split.digest
