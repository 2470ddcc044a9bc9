from __future__ import annotations

import csv
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tumorctl.errors import OutputError
from tumorctl.outputs.files import Table, shielded, unshielded, write_whole


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Have the kernel refuse to let files grow past a size, as a full disk or a quota does."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.png", b"content")
    assert (tmp_path / "a" / "b.png").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


def test_a_file_that_does_not_fit_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "b.png"
    path.write_bytes(b"before")
    with no_file_larger_than(100), pytest.raises(OutputError, match=r"b\.png could not be written"):
        write_whole(path, b"x" * 1000)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_appears_when_it_is_finished(tmp_path: Path) -> None:
    with Table(tmp_path / "t.csv", ["name", "value"]) as table:
        table.add(["Größe, 脳", 1])
        table.add(['quoted "x"', 2])
        assert not (tmp_path / "t.csv").exists()
        table.finish()
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["name", "value"], ["Größe, 脳", "1"], ['quoted "x"', "2"]]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_table_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with Table(tmp_path / "t.csv", ["name"]) as table:
        table.add(["x"])
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_does_not_fit_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with no_file_larger_than(100), Table(tmp_path / "t.csv", ["name"]) as table:
        table.add(["x" * 1000])
        with pytest.raises(OutputError, match="could not be written"):
            table.finish()
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_unicode_are_escaped(tmp_path: Path) -> None:
    with Table(tmp_path / "t.csv", ["name"]) as table:
        table.add(["bad\udcff"])
        table.finish()
    assert "bad\\udcff" in (tmp_path / "t.csv").read_text("utf-8")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        Table(tmp_path / "absent" / "t.csv", ["name"])


@pytest.mark.parametrize("name", ["=1+1", "+a", "-b", "@c", "\td", "\re", "'=quoted", "''=twice", "plain", "'", ""])
def test_no_cell_is_a_formula_and_names_come_back(name: str) -> None:
    assert not shielded(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unshielded(shielded(name)) == name
