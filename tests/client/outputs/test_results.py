from __future__ import annotations

from pathlib import Path

import pytest

from tumorctl.errors import OutputError
from tumorctl.outputs.measured import UNMEASURED
from tumorctl.outputs.results import ResultFolder, SliceRow, StudyRow, forget_earlier_run


def row(number: int, probability: float | None = None, area: int | None = None, error: str = "") -> SliceRow:
    return SliceRow(
        path=f"s_{number}.png",
        study="s",
        number=number,
        tumor_probability=probability,
        tumor=None if area is None else area > 0,
        segmented=None if probability is None else probability > 0.5,
        area_px=area,
        error=error,
    )


def test_a_study_is_what_its_slices_are() -> None:
    study = StudyRow("s")
    for each in (row(1, 0.2, 0), row(2, 0.9, 40), row(3, 0.7, 90)):
        study.add(each)
    assert study.cells() == ("s", "3", "2", "0.900000", "true", "90", "", *UNMEASURED)


def test_a_study_with_failures_says_so_and_does_not_hide_the_tumour() -> None:
    study = StudyRow("s")
    for each in (row(1, 0.9, 40), row(2, error="torn"), row(3, error="too small")):
        study.add(each)
    assert study.cells() == ("s", "3", "1", "0.900000", "true", "40", "2 of 3 slices failed: torn", *UNMEASURED)


def test_a_study_nobody_could_read_is_unknown_not_healthy() -> None:
    study = StudyRow("s")
    study.add(row(1, error="torn"))
    assert study.cells() == ("s", "1", "0", "", "", "", "1 of 1 slices failed: torn", *UNMEASURED)
    folder = StudyRow("shut")
    folder.add(SliceRow("shut", "shut", None, error="folder cannot be listed"))
    assert folder.cells() == ("shut", "0", "0", "", "", "", "folder cannot be listed", *UNMEASURED)


def test_forgetting_removes_only_what_was_written(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path)
    with results.predictions() as table:
        name = results.write_mask("a/b.png", b"mask")
        results.write_overlay("a/b.png", b"overlay")
        table.add(SliceRow("a/b.tif", "a", 1, 0.9, True, True, 5, name).cells())
        table.finish()
    (tmp_path / "masks" / "mine.png").touch()
    forget_earlier_run(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["masks", "masks/mine.png"]


@pytest.mark.parametrize("name", ["../outside.png", "masks/../../outside.png", "/outside.png", "other/x.png"])
def test_a_forged_table_cannot_remove_files_elsewhere(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside.png"
    outside.touch()
    folder = tmp_path / "out"
    results = ResultFolder(folder)
    (folder / "other").mkdir()
    (folder / "other" / "x.png").touch()
    with results.predictions() as table:
        table.add(SliceRow("a.tif", "a", 1, mask=name).cells())
        table.finish()
    forget_earlier_run(folder)
    assert outside.exists()
    assert (folder / "other" / "x.png").exists()


def test_a_table_that_is_not_text_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OutputError, match="choose another folder"):
        ResultFolder(tmp_path)


def test_names_of_masks_are_unique(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path)
    assert [results.image_name(name) for name in ("a/b.tif", "a/b.png", "a/b.c.png")] == [
        "a/b.png",
        "a/b-2.png",
        "a/b.c.png",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("studies.csv", b"id,age\n1,2\n"),
        ("predictions.csv", b'path,study,slice,tumor_probability,tumor,segmented,area_px,mask,error\n"a,b\n'),
        ("run.json", b"[1]"),
        ("run.json", b"{}"),
        ("run.json", b"no json"),
        ("run.json", b"1"),
    ],
)
def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match="choose another folder"):
        ResultFolder(tmp_path)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("mask", [".", "a\0b", "masks"])
def test_an_odd_cell_in_an_earlier_table_does_no_harm(tmp_path: Path, mask: str) -> None:
    with ResultFolder(tmp_path).predictions() as table:
        table.add(SliceRow("a.tif", "a", 1, 0.9, True, True, 5, mask).cells())
        table.finish()
    ResultFolder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_whose_name_looks_like_a_formula_is_found_again(tmp_path: Path) -> None:
    with ResultFolder(tmp_path).studies() as table:
        study = StudyRow("=1+1")
        table.add(study.cells())
        table.finish()
    assert "\n'=1+1," in (tmp_path / "studies.csv").read_text()
    (tmp_path / "studies" / "=1+1").mkdir(parents=True)
    (tmp_path / "studies" / "=1+1" / "measurements.json").touch()
    ResultFolder(tmp_path)
    assert not list(tmp_path.iterdir())
