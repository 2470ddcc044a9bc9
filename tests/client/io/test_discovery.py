from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nobody import as_nobody
from tumorctl.errors import InvalidInput
from tumorctl.io.discovery import SliceFile, UnreadableFolder, discover, is_slice, mask_path, natural_key


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def slices(*paths: Path, skip: Path | None = None) -> list[SliceFile]:
    return [item for item in discover(paths, skip=skip) if isinstance(item, SliceFile)]


def test_kaggle_layout_is_one_study_per_folder_without_masks(tmp_path: Path) -> None:
    touch(tmp_path, "P1/P1_1.tif", "P1/P1_1_mask.tif", "P1/P1_10.tif", "P1/P1_2.tif", "P2/P2_1.tif", "data.csv")
    found = [(item.name, item.study, item.number) for item in slices(tmp_path)]
    assert found == [
        ("P1/P1_1.tif", "P1", 1),
        ("P1/P1_2.tif", "P1", 2),
        ("P1/P1_10.tif", "P1", 10),
        ("P2/P2_1.tif", "P2", 1),
    ]


def test_a_folder_of_slices_is_named_after_itself(tmp_path: Path) -> None:
    touch(tmp_path / "scan", "b.png", "a.JPG", "notes.txt", ".hidden.png")
    assert [(i.name, i.study, i.number) for i in slices(tmp_path / "scan")] == [
        ("a.JPG", "scan", 1),
        ("b.png", "scan", 2),
    ]


def test_nested_folders_keep_their_path(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c_1.tiff", "a/c_1.tiff")
    assert [(i.name, i.study) for i in slices(tmp_path)] == [("a/c_1.tiff", "a"), ("a/b/c_1.tiff", "a/b")]


def test_numbers_that_repeat_give_way_to_the_order(tmp_path: Path) -> None:
    touch(tmp_path, "x_1.tif", "y_1.tif", "y_2.tif")
    assert [i.number for i in slices(tmp_path)] == [1, 2, 3]


def test_studies_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/scan/1.png", "two/scan/1.png")
    assert [i.study for i in slices(tmp_path / "one" / "scan", tmp_path / "two" / "scan")] == ["scan", "scan-2"]


def test_single_files_are_taken_whatever_their_name(tmp_path: Path) -> None:
    touch(tmp_path, "scan/7.dat", "scan/8_mask.png")
    found = slices(tmp_path / "scan" / "7.dat", tmp_path / "scan" / "8_mask.png")
    assert [(i.name, i.study) for i in found] == [("7.dat", "scan"), ("8_mask.png", "scan")]


def test_the_results_folder_is_not_searched(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "out/masks/1.png")
    assert [i.name for i in slices(tmp_path, skip=tmp_path / "out")] == ["1.png"]


def test_links_in_a_circle_do_not_trap_the_walk(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert [i.name for i in slices(tmp_path)] == ["a/1.png"]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        slices(tmp_path / "absent")


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that the current user may not list; root becomes nobody meanwhile, since root may list all."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        touch(root, "open/1.png", "shut/1.png")
        (root / "shut").chmod(0)
        touch(root, "bare/1.png")
        (root / "bare").chmod(0o444)
        (root / "open" / "2.png").symlink_to(root / "shut" / "1.png")
        try:
            with as_nobody():
                yield root
        finally:
            for closed in ("shut", "bare"):
                (root / closed).chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_reported_and_the_rest_found(locked_folder: Path) -> None:
    found = list(discover([locked_folder]))
    assert [i.name for i in found if isinstance(i, SliceFile)] == ["bare/1.png", "open/1.png", "open/2.png"]
    assert [i for i in found if isinstance(i, UnreadableFolder)] == [UnreadableFolder("shut", "Permission denied")]


@pytest.mark.parametrize("way", ["shut", "shut/1.png", "shut/deeper/1.png", "open/2.png", "x" * 300])
def test_a_path_that_cannot_be_reached_is_an_error(locked_folder: Path, way: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened"):
        slices(locked_folder / way)


def test_mask_of_a_slice() -> None:
    assert mask_path(Path("a/b_1.tif")) == Path("a/b_1_mask.tif")
    assert is_slice("b_1.tif")
    assert not is_slice("b_1_mask.tif")


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_order_is_numeric(numbers: list[int]) -> None:
    names = [f"slice_{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"slice_{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=20)))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    assert len(sorted(names, key=natural_key)) == len(names)
