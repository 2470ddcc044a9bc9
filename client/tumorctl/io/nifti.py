"""Studies in NIfTI: which file plays which role by its name, and volumes read with care."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tumorctl.core.geometry import Grid, Volume
from tumorctl.errors import (
    InvalidInput,
    MissingFlair,
    NoSuchSeries,
    OversizedInput,
    TumorctlError,
    UnreadableStudy,
    UnusableSeries,
)
from tumorctl.io.series import Series, SeriesTraits, StudyInput
from tumorctl.types import SeriesChoice, SeriesRole

SUFFIXES = (".nii", ".nii.gz")
MAX_VOXELS = 1 << 26
"""Of one volume: 512 x 512 x 256."""

_MIN_IN_PLANE = 32
_NIFTI_AXES = (2, 1, 0)
_KINDS = "biuf"
_WORDS = {
    SeriesRole.flair: frozenset({"flair", "t2f", "t2flair", "flr", "darkfluid"}),
    SeriesRole.t1_pre: frozenset({"t1", "t1n", "t1w", "t1pre", "t1native", "mprage"}),
    SeriesRole.t1_post: frozenset(
        {"t1c", "t1ce", "t1cw", "t1post", "t1gd", "t1gad", "t1km", "t1wce", "gd", "gad", "post"}
    ),
}
_PRE = frozenset({"pre", "native", "nativ", "precontrast", "noncontrast"})
_POST = _WORDS[SeriesRole.t1_post] | {"ce", "km", "contrast", "postcontrast", "gadolinium"}
_LABELS = frozenset({"seg", "mask", "label", "labels", "segmentation", "lesion", "roi", "brainmask"})
_T2 = frozenset({"t2", "t2w", "t2s", "pd", "pdw", "dwi", "adc", "swi", "bold", "asl"})


@dataclass(frozen=True, slots=True)
class NiftiSet:
    """Files of one study.

    Attributes:
        name: what tells the study from others of its folder; empty where it is the only one.
        files: by role; more than one where names do not tell which is meant.
    """

    name: str
    files: Mapping[SeriesRole, tuple[Path, ...]]


def is_nifti(name: str) -> bool:
    """Whether a file's name is that of a NIfTI file, and it is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def role_of(name: str) -> SeriesRole | None:
    """The role that a file's name tells, None for label maps and what the networks do not see."""
    words = set(_words(name))
    if words & _LABELS:
        return None
    if words & _WORDS[SeriesRole.flair]:
        return SeriesRole.flair
    if words & _T2:
        return None
    if words & _POST and not words & _PRE:
        return SeriesRole.t1_post
    return SeriesRole.t1_pre if words & _WORDS[SeriesRole.t1_pre] else None


def sets_of(files: Iterable[Path]) -> Iterator[NiftiSet]:
    """Put the files of one folder together by what their names have in common.

    One set, but where the folder holds several FLAIRs whose names differ in more than the role: then one for each.
    """
    roles = {file: role for file in sorted(files) if (role := role_of(file.name)) is not None}
    stems = {_without_role(file.name) for file, role in roles.items() if role is SeriesRole.flair}
    if len(stems) < 2:
        yield NiftiSet("", _by_role(roles))
        return
    for stem in sorted(stems):
        own = {file: role for file, role in roles.items() if _without_role(file.name) == stem}
        yield NiftiSet(stem, _by_role(own))


def read_set(
    study: str, files: Mapping[SeriesRole, tuple[Path, ...]], *, named: Iterable[SeriesRole] = ()
) -> StudyInput:
    """Read the volumes of one study.

    Args:
        study: its name.
        files: by role, of which the FLAIR is needed.
        named: roles whose files the caller named.

    Raises:
        MissingFlair: there is none.
        NoSuchSeries: more than one file may be meant.
        UnreadableStudy, UnusableSeries, OversizedInput: a file cannot be used; the message names it.
    """
    named = frozenset(named)
    if not files.get(SeriesRole.flair):
        raise MissingFlair("no NIfTI file is named like a FLAIR (flair, t2f): name it with --flair, or rename the file")
    chosen: dict[SeriesRole, tuple[Series, SeriesChoice]] = {}
    warnings: list[str] = []
    for role in SeriesRole:
        if len(some := files.get(role, ())) > 1:
            option = f"--{role.value.replace('_', '-')}"
            raise NoSuchSeries(
                f"{', '.join(file.name for file in some)}: more than one file may be meant; name {option}"
            )
        for file in some:
            volume, warning = read_volume(file)
            why = "named by the caller" if role in named else "by the file's name"
            chosen[role] = Series(file.name, volume, SeriesTraits()), SeriesChoice(role, file.name, why)
            warnings += [warning] if warning else []
    return StudyInput(study, chosen, tuple(warnings))


def read_volume(path: Path) -> tuple[Volume, str]:
    """Read one NIfTI file.

    Args:
        path: NIfTI-1 or -2, plain or gzipped.

    Returns:
        The volume, float32, its slices along the file's third axis; and a warning, empty if there is none.

    Raises:
        UnreadableStudy: not NIfTI, damaged or cut off.
        UnusableSeries: four-dimensional, not of real numbers, not finite, blank, too small, or without a place.
        OversizedInput: more voxels than are taken in.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableStudy(f"{path.name}: empty file (0 bytes)")
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableStudy(f"{path.name}: not a NIfTI file")
        grid = _grid(path.name, image)
        voxels = np.asarray(image.dataobj, np.float32).reshape(image.shape[:3]).transpose(_NIFTI_AXES)
    except TumorctlError:
        raise
    # Damaged files raise what gzip, zlib, numpy and nibabel raise, and nibabel's messages may quote the header.
    except Exception as error:
        raise UnreadableStudy(f"{path.name}: {_reason(error)}") from None
    if not np.isfinite(voxels).all():
        raise UnusableSeries(f"{path.name}: has voxels that are not finite numbers (NaN or infinite)")
    if voxels.min() == voxels.max():
        raise UnusableSeries(f"{path.name}: blank, all voxels have one value")
    placed = int(image.header["sform_code"]) or int(image.header["qform_code"])
    warning = "" if placed else f"{path.name}: its header does not say how it lies; left and right may be wrong"
    return Volume(voxels, grid), warning


def _grid(name: str, image: Any) -> Grid:
    """Where the voxels lie; all that the header says is checked before any voxel is read."""
    shape = tuple(int(size) for size in image.shape)
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise UnusableSeries(f"{name}: has {len(shape)} dimensions; a series is one volume of three")
    shape = shape[:3]
    if np.prod(shape, dtype=np.float64) > MAX_VOXELS:
        raise OversizedInput(f"{name}: {' x '.join(map(str, shape))} voxels; at most {MAX_VOXELS:,} are read")
    if min(shape) < 1 or sorted(shape)[1] < _MIN_IN_PLANE:
        raise UnusableSeries(f"{name}: {' x '.join(map(str, shape))} voxels are too few to make slices of")
    if image.get_data_dtype().kind not in _KINDS:
        raise UnusableSeries(f"{name}: its voxels are not real numbers")
    try:
        return Grid((shape[2], shape[1], shape[0]), image.affine[:, (*_NIFTI_AXES, 3)])
    except InvalidInput as error:
        raise UnusableSeries(f"{name}: {error}") from None


def _by_role(roles: Mapping[Path, SeriesRole]) -> dict[SeriesRole, tuple[Path, ...]]:
    return {role: tuple(file for file, its in roles.items() if its is role) for role in SeriesRole}


def _stem(name: str) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", name.lower())


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", _stem(name)) if word]


def _without_role(name: str) -> str:
    roles = frozenset().union(*_WORDS.values()) | _PRE | _POST | _T2 | {"axial", "ax"}
    return "-".join(word for word in _words(name) if word not in roles)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    return f"not a NIfTI file, damaged or cut off ({type(error).__name__})"
