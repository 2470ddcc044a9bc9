from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tumor_training import dataset
from tumor_training.dataset import PatientCount, Problem, load, verify
from tumorctl.errors import InvalidInput

FIRST = "TCGA_CS_0000_19960101"


def test_verify_counts_slices_and_tumours_of_each_patient(made_patients: Path) -> None:
    found = verify(made_patients)
    assert found.problems == ()
    assert len(found.patients) == 6
    assert set(found.patients.values()) == {PatientCount(slices=4, positive=2)}
    assert (found.slices, found.positive) == (24, 12)


def _damage_slice(folder: Path) -> None:
    (folder / f"{FIRST}_1.tif").write_bytes(b"not an image")


def _damage_label(folder: Path) -> None:
    (folder / f"{FIRST}_1_mask.tif").write_bytes(b"")


def _remove_label(folder: Path) -> None:
    (folder / f"{FIRST}_1_mask.tif").unlink()


def _shrink_label(folder: Path) -> None:
    Image.new("L", (128, 64)).save(folder / f"{FIRST}_1_mask.tif")


def _remove_slice(folder: Path) -> None:
    (folder / f"{FIRST}_1.tif").unlink()


def _remove_all_slices(folder: Path) -> None:
    for number in range(1, 5):
        (folder / f"{FIRST}_{number}.tif").unlink()
        if number > 1:
            (folder / f"{FIRST}_{number}_mask.tif").unlink()


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (_damage_slice, "1.tif", "not a TIFF, PNG or JPEG image"),
        (_damage_label, "1_mask.tif", "empty file (0 bytes)"),
        (_remove_label, "1.tif", f"no label {FIRST}_1_mask.tif"),
        (_shrink_label, "1_mask.tif", "label is 128x64, slice 256x256"),
        (_remove_slice, "1_mask.tif", "label without a slice"),
        (_remove_all_slices, "1_mask.tif", "label without a slice"),
    ],
)
def test_verify_names_the_file_that_is_wrong_and_counts_the_others(
    own_patients: Path, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    damage(own_patients / FIRST)
    found = verify(own_patients)
    assert found.problems == (Problem(f"{FIRST}/{FIRST}_{name}", reason),)
    assert found.slices == (20 if damage is _remove_all_slices else 23)


def test_verify_lists_every_problem(own_patients: Path) -> None:
    _damage_slice(own_patients / FIRST)
    (own_patients / FIRST / f"{FIRST}_2_mask.tif").unlink()
    (own_patients / FIRST / "stray_mask.tif").write_bytes(b"")
    assert [problem.name.removeprefix(f"{FIRST}/") for problem in verify(own_patients).problems] == [
        f"{FIRST}_1.tif",
        f"{FIRST}_2.tif",
        "stray_mask.tif",
    ]


@pytest.fixture
def _locked_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first patient's folder cannot be listed: permissions would not stop the superuser."""
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == FIRST:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("tumorctl.io.discovery.os.scandir", refuse)


@pytest.mark.usefixtures("_locked_folder")
def test_verify_names_a_folder_that_cannot_be_listed(made_patients: Path) -> None:
    problems = verify(made_patients).problems
    assert problems[0] == Problem(FIRST, "folder cannot be listed (Permission denied)")


@pytest.mark.usefixtures("_locked_folder")
def test_data_with_a_folder_that_cannot_be_listed_is_not_loaded(made_patients: Path) -> None:
    with pytest.raises(InvalidInput, match=f"{FIRST} cannot be listed"):
        load(made_patients)


@pytest.mark.parametrize("read", [verify, load])
def test_a_folder_without_slices_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no slices"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="does not exist"):
        read(tmp_path / "none")


def test_load_decodes_what_the_files_hold_in_the_order_of_slices(made_patients: Path) -> None:
    slices = load(made_patients)
    assert slices.images.shape == (24, 256, 256, 3)
    assert slices.masks.shape == (24, 256, 256)
    assert (slices.images.dtype.name, slices.masks.dtype.name) == ("uint8", "bool")
    assert slices.numbers == (1, 2, 3, 4) * 6
    for index in (0, 6, 23):
        stem = made_patients / slices.patients[index] / f"{slices.patients[index]}_{slices.numbers[index]}"
        np.testing.assert_array_equal(slices.images[index], np.asarray(Image.open(f"{stem}.tif")))
        np.testing.assert_array_equal(slices.masks[index], np.asarray(Image.open(f"{stem}_mask.tif")) > 0)


def test_indices_are_those_of_the_patients_asked_for(made_patients: Path) -> None:
    slices = load(made_patients)
    patients = sorted(set(slices.patients))
    assert slices.indices_of([patients[4], patients[1]]).tolist() == [
        index for index, patient in enumerate(slices.patients) if patient in (patients[1], patients[4])
    ]
    with pytest.raises(InvalidInput, match="no slices of nobody"):
        slices.indices_of([patients[0], "nobody"])


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("damage", [_damage_slice, _damage_label, _remove_label, _shrink_label])
def test_damaged_data_is_not_loaded(
    own_patients: Path, tmp_path: Path, damage: Callable[[Path], None], cached: bool
) -> None:
    damage(own_patients / FIRST)
    with pytest.raises(InvalidInput, match=f"{FIRST}_1"):
        load(own_patients, tmp_path / "cache" if cached else None)
    assert not list(tmp_path.glob("cache/*"))


def test_slices_of_another_size_are_not_loaded(own_patients: Path) -> None:
    for name in ("1.tif", "1_mask.tif"):
        Image.new("L", (128, 64)).save(own_patients / FIRST / f"{FIRST}_{name}")
    with pytest.raises(InvalidInput, match="128x64, training reads 256x256"):
        load(own_patients)


def test_a_cache_holds_the_data_and_is_not_decoded_again(
    own_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, first = load(own_patients), load(own_patients, tmp_path / "cache")
    monkeypatch.setattr(dataset, "_decode", lambda slices: pytest.fail("decoded again"))
    again = load(own_patients, tmp_path / "cache")
    for cached in (first, again):
        np.testing.assert_array_equal(cached.images, plain.images)
        np.testing.assert_array_equal(cached.masks, plain.masks)
        assert (cached.patients, cached.numbers) == (plain.patients, plain.numbers)
        assert isinstance(cached.images, np.memmap)


@pytest.mark.parametrize("name", ["1.tif", "1_mask.tif"])
def test_a_changed_file_is_decoded_anew(own_patients: Path, tmp_path: Path, name: str) -> None:
    before = load(own_patients, tmp_path / "cache")
    path = own_patients / FIRST / f"{FIRST}_{name}"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    after = load(own_patients, tmp_path / "cache")
    changed, kept = ("images", "masks") if name == "1.tif" else ("masks", "images")
    assert not np.array_equal(getattr(before, changed)[0], getattr(after, changed)[0])
    np.testing.assert_array_equal(getattr(before, kept), getattr(after, kept))


def test_a_touched_or_removed_file_is_seen(own_patients: Path, tmp_path: Path) -> None:
    load(own_patients, tmp_path / "cache")
    os.utime(own_patients / FIRST / f"{FIRST}_1.tif", ns=(1, 1))
    load(own_patients, tmp_path / "cache")
    for name in ("4.tif", "4_mask.tif"):
        (own_patients / FIRST / f"{FIRST}_{name}").unlink()
    assert len(load(own_patients, tmp_path / "cache")) == 23
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_two_runs_may_write_the_same_cache_at_once(own_patients: Path, tmp_path: Path) -> None:
    images, masks = np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.bool_)
    dataset._write_cache(tmp_path / "cache" / "same", images, masks)
    dataset._write_cache(tmp_path / "cache" / "same", images, masks)
    np.testing.assert_array_equal(np.load(tmp_path / "cache" / "same" / "images.npy"), images)
