from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tumor_training.evaluation.replacement import Replaceable, write_replaced
from tumorctl.errors import OutputError, UnreadableImage
from tumorctl.io.discovery import SliceFile, discover
from tumorctl.io.slices import read_slice

PATIENT = "TCGA_CS_0000_19960101"


def slices_of(folder: Path) -> tuple[SliceFile, ...]:
    return tuple(item for item in discover([folder]) if isinstance(item, SliceFile))


@pytest.mark.parametrize(
    ("replaced", "channels"),
    [
        ([Replaceable.t1_pre], [0]),
        ([Replaceable.t1_post], [2]),
        ([Replaceable.t1_pre, Replaceable.t1_post], [0, 2]),
    ],
)
def test_channels_are_replaced_and_nothing_else(
    made_patients: Path, tmp_path: Path, replaced: list[Replaceable], channels: list[int]
) -> None:
    originals = slices_of(made_patients / PATIENT)
    (folder,) = write_replaced({PATIENT: originals}, replaced, tmp_path)
    copies = slices_of(folder)
    assert folder == tmp_path / PATIENT
    assert [(item.name, item.number, item.study) for item in copies] == [
        (item.name, item.number, item.study) for item in originals
    ]
    for original, copy in zip(originals, copies, strict=True):
        wanted = read_slice(original.path).copy()
        assert not np.array_equal(wanted[:, :, channels[0]], wanted[:, :, 1])
        for channel in channels:
            wanted[:, :, channel] = wanted[:, :, 1]
        assert np.array_equal(read_slice(copy.path), wanted)


def test_a_damaged_slice_fails_as_the_original_does(own_patients: Path, tmp_path: Path) -> None:
    damaged = own_patients / PATIENT / f"{PATIENT}_2.tif"
    damaged.write_bytes(b"II*\0 no more")
    (folder,) = write_replaced({PATIENT: slices_of(damaged.parent)}, [Replaceable.t1_pre], tmp_path)
    errors = []
    for path in (damaged, folder / damaged.name):
        with pytest.raises(UnreadableImage) as caught:
            read_slice(path)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert len(slices_of(folder)) == 4


def test_copies_that_cannot_be_written_are_an_output_error(made_patients: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="copies of the slices"):
        write_replaced({PATIENT: slices_of(made_patients / PATIENT)}, [Replaceable.t1_pre], tmp_path / "missing")
