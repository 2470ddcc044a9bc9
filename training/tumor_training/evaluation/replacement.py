"""Slices with a sequence replaced by the FLAIR, as the data set has them where a sequence was not acquired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from PIL import Image

from tumorctl.contract import CHANNEL_NAMES, FLAIR_CHANNEL
from tumorctl.errors import OutputError, TumorctlError
from tumorctl.io.discovery import SliceFile
from tumorctl.io.slices import read_slice


class Replaceable(str, Enum):
    """Sequences that may be missing."""

    t1_pre = "t1-pre"
    t1_post = "t1-post"

    @property
    def channel(self) -> int:
        """Its channel in a slice."""
        return CHANNEL_NAMES.index({"t1-pre": "T1 pre-contrast", "t1-post": "T1 post-contrast"}[self.value])


def write_replaced(
    slices: Mapping[str, Iterable[SliceFile]], replaced: Sequence[Replaceable], folder: Path
) -> list[Path]:
    """Write copies of patients' slices in which sequences are replaced by the FLAIR.

    The copies have the names of the originals and lose nothing else. A slice that cannot be read is linked to, so
    that it fails as the original does.

    Args:
        slices: of each patient.
        replaced: the sequences.
        folder: where to; each patient gets a folder in it.

    Returns:
        The patients' folders.

    Raises:
        OutputError: a copy could not be written.
    """
    folders = []
    try:
        for patient, items in slices.items():
            target = folder / patient
            target.mkdir()
            for item in items:
                _copy(item.path, target / item.path.name, replaced)
            folders.append(target)
    except OSError as error:
        raise OutputError(f"copies of the slices could not be written ({error.strerror})") from error
    return folders


def _copy(source: Path, target: Path, replaced: Sequence[Replaceable]) -> None:
    try:
        image = read_slice(source).copy()
    except TumorctlError:
        target.symlink_to(source.resolve())
        return
    for sequence in replaced:
        image[:, :, sequence.channel] = image[:, :, FLAIR_CHANNEL]
    # Whatever the name says: a reader goes by the content.
    Image.fromarray(image).save(target, "TIFF")
