"""A real PACS takes our objects and gives them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

import pacs
from clinical_phantoms import Phantom
from debian import program
from predictions import predicted
from tumorctl.outputs.studies import write_study

SMALL = Phantom(shape=(18, 32, 36), spacing_mm=(10.0, 7.2, 6.4), tilt_deg=(11.0, -8.0, 14.0))
KINDS = ("seg", "sr", "overlay", "negative")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with objects before and after the PACS, and what the PACS answered."""
    for name in ("Orthanc", "dcmsend"):
        program(name)
    if not Path(pacs.PLUGIN).is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed: tests/install_debian.sh installs it as root")
    if not pacs.namespaces_work():
        pytest.skip("this system lets this user make no network namespace")
    folder = tmp_path_factory.mktemp("pacs")
    write_study(folder, predicted(SMALL, study="ill"))
    write_study(folder, predicted(replace(SMALL, lesion_radii_mm=(0.0, 0.0, 0.0)), study="healthy"))
    (folder / "in").mkdir()
    for kind in KINDS:
        source = "healthy/sr" if kind == "negative" else f"ill/{kind}"
        (folder / "studies" / f"{source}.dcm").rename(folder / "in" / f"{kind}.dcm")
    return folder, pacs.in_namespace(folder)


def test_stow_takes_every_kind(stored: tuple[Path, dict[str, Any]]) -> None:
    _, answers = stored
    for kind in KINDS:
        assert (answers[f"stow {kind}"]["status"], answers[f"stow {kind}"]["stored"]) == (200, 1)
        assert not answers[f"stow {kind}"]["answer"].get("00081198", {}).get("Value")  # Failed SOP Sequence
    assert answers["stow kept"] == len(KINDS)  # the one sent twice is kept once


def test_c_store_takes_every_kind(stored: tuple[Path, dict[str, Any]]) -> None:
    _, answers = stored
    assert answers["cstore"]["status"] == 0, answers["cstore"]["log"]
    assert answers["cstore kept"] == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back_is_what_was_sent(stored: tuple[Path, dict[str, Any]], kind: str) -> None:
    folder, _ = stored
    sent = folder / "in" / f"{kind}.dcm"
    uid = pydicom.dcmread(sent).SOPInstanceUID
    for way in ("file", "wado"):
        assert (folder / "out" / f"stow-{uid}-{way}.dcm").read_bytes() == sent.read_bytes()
        # C-STORE sends no file header, so the PACS makes its own; the object itself is the same, byte for byte.
        assert data_set(folder / "out" / f"cstore-{uid}-{way}.dcm") == data_set(sent)


def data_set(file: Path) -> bytes:
    """The bytes after the file meta information."""
    content = file.read_bytes()
    assert content[128:132] == b"DICM"
    length = pydicom.dcmread(file, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    return content[144 + length :]
