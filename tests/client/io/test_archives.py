from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorctl.errors import InvalidInput, OversizedInput, UnusableArchive
from tumorctl.io.archives import ArchiveLimits, unpacked

SMALL = ArchiveLimits(entries=5, total_bytes=3000, file_bytes=2000, ratio=10, free_bytes=1500)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary folders, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def zipped(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_files_come_out_as_they_were_into_a_private_folder(tmp_path: Path, temporary: Path) -> None:
    files = {"a/IM1": b"one", "a/b/IM2": b"two" * 99, "IM3": b""}
    archive = zipped(tmp_path / "my study.zip", files)
    with unpacked(archive) as folder:
        assert folder.name == "my study"
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == files
        assert folder.parent.parent == temporary


def test_the_folder_goes_where_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), unpacked(zipped(tmp_path / "a.zip", {"IM1": b"one"})):
        raise KeyError


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/tmp/out", "C:\\out", "..\\out", "a\\..\\..\\out", "//server/out"]
)
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    with pytest.raises(UnusableArchive, match="entry 2 would be written outside") as caught, unpacked(archive):
        pass
    assert "out'" not in str(caught.value)
    assert not list(tmp_path.rglob("out"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UnusableArchive, match="link or a device"), unpacked(tmp_path / "a.zip"):
        pass


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a.zip", {"IM1": b"one"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UnusableArchive, match="encrypted"), unpacked(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({f"IM{number}": b"" for number in range(6)}, "6 entries"),
        ({"IM1": bytes(range(250)) * 9}, "entry 1 unpacks to more than 2,000"),
        ({f"IM{number}": bytes(range(250)) * 4 for number in range(4)}, "more than 3,000"),
        ({"IM1": bytes(1900)}, "10 times its size"),
        ({f"IM{number}": bytes(1000) for number in range(3)}, "10 times its size"),
    ],
)
def test_limits_hold(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    limits = replace(SMALL, ratio=1000) if "more than" in message else SMALL
    with pytest.raises(OversizedInput, match=message), unpacked(zipped(tmp_path / "a.zip", files), limits):
        pass


def test_a_size_that_is_lied_about_is_no_way_around_the_limits(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a.zip", {"IM1": bytes(5 << 20)}).read_bytes())
    for header, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(header) + place
        content[start : start + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidInput), unpacked(tmp_path / "a.zip", SMALL):
        pass


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM1", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("IM1", "two")
    with pytest.raises(UnusableArchive, match="same name"), unpacked(tmp_path / "a.zip"):
        pass


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_a_typed_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/IM1", b"some content " * 20)
        archive.writestr("IM2", b"other content")
    content = bytearray(packed.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        with unpacked(path, SMALL):
            pass
    except InvalidInput:
        pass
