"""Studies in NIfTI: which file plays which role by its name, and volumes read with care."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

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
from tumorctl.io.series import MAX_EXTENT_MM, MAX_VOXELS, PIXEL_MM, SLICE_MM, Series, SeriesTraits, StudyInput
from tumorctl.types import SeriesChoice, SeriesRole

SUFFIXES = (".nii", ".nii.gz")
_MIN_IN_PLANE = 32
_UNITS = {1: ("metres", 1000.0), 2: ("mm", 1.0), 3: ("microns", 0.001)}
_NO_UNIT = ("no unit", 1.0)
_UNIT_BITS = 0b111
"""The header's codes of units of length, with what they are called and their mm, and the bits that hold the code."""

_APART_MM, _APART_DEG = 1.0, 1.0
_SIDES = ("left and right", "front and back", "top and bottom")
_NIFTI_AXES = (2, 1, 0)
_KINDS = "biuf"
_WORDS = {
    SeriesRole.flair: frozenset({"flair", "t2f", "t2flair", "flr", "darkfluid"}),
    SeriesRole.t1_pre: frozenset({"t1", "t1n", "t1w", "t1pre", "t1native", "mprage"}),
    SeriesRole.t1_post: frozenset(
        {"t1c", "t1ce", "t1cw", "t1post", "t1gd", "t1gad", "t1km", "t1wce", "gd", "gad", "post"}
    ),
}
_PRE = frozenset({"pre", "native", "nativ", "precontrast", "noncontrast", "non", "without", "ohne", "unenhanced"})
_POST = _WORDS[SeriesRole.t1_post] | {"ce", "km", "contrast", "postcontrast", "gadolinium"}
_LABELS = frozenset(
    {"seg", "dseg", "probseg", "segmentation", "mask", "masks", "brainmask", "label", "labels", "lesion", "lesions"}
    | {"roi", "rois", "tumor", "tumors", "tumour", "tumours"}
)
_T2 = frozenset({"t2", "t2w", "t2s", "pd", "pdw", "dwi", "adc", "swi", "bold", "asl"})
_SHOWN = frozenset[str]().union(*_WORDS.values()) | _POST | _T2
_MOVED = frozenset(
    {"to", "into", "onto", "in", "on", "reg", "registered", "coreg", "coregistered", "aligned", "warped"}
)
_SPACE = re.compile(r"(^|_)space-[a-z0-9]+_")
_SURGERY = re.compile(
    r"\b(pre|post)[^a-z0-9]*(op|operative|operativ|surgery|surgical|resection|treatment|therapy|rt)\b"
)


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
    """The role that a file's name tells; None for label maps, what the networks do not see, and what may be either."""
    words = set(_words(name))
    if words & _LABELS:
        return None
    if words & _WORDS[SeriesRole.flair]:
        # A T1 FLAIR is a T1, which another name would say of a FLAIR of time point 1.
        return None if words & _WORDS[SeriesRole.t1_pre] and not words & _T2 else SeriesRole.flair
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
        UnreadableStudy: not NIfTI, damaged or cut off, or it cannot be opened.
        UnusableSeries: four-dimensional, not of real numbers, not finite, blank, too small, without a place, or of a
            size that no MR of a head has.
        OversizedInput: more voxels than are taken in.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UnreadableStudy(f"{path.name}: empty file (0 bytes)")
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableStudy(f"{path.name}: not a NIfTI file")
        # The library mends what it finds odd in a header, and tells nobody.
        header = _raw_header(path, image)
        grid = _grid(path.name, image, header)
        warning = _doubt(path.name, grid, image, header)
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
    return Volume(voxels, grid), warning


def _raw_header(path: Path, image: Any) -> Any:
    """The header as it was written."""
    kind = type(image.header)
    with nibabel.openers.ImageOpener(str(path)) as file:
        header = kind(file.read(kind.template_dtype.itemsize), check=False)
    if not float(header["vox_offset"]) >= kind.single_vox_offset:
        raise UnreadableStudy(f"{path.name}: damaged, its voxels would begin inside its header")
    return header


def _grid(name: str, image: Any, header: Any) -> Grid:
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
    if not int(image.header["sform_code"]) and not (np.abs(header["pixdim"][1:4]) > 0).all():
        raise UnusableSeries(f"{name}: its header does not say how large a voxel is (pixdim is 0)")
    try:
        grid = Grid((shape[2], shape[1], shape[0]), _in_mm(image.affine, header)[:, (*_NIFTI_AXES, 3)])
    except InvalidInput as error:
        raise UnusableSeries(f"{name}: {error}") from None
    _check_size(name, grid, header)
    return grid


def _unit(header: Any) -> tuple[str, float]:
    return _UNITS.get(int(header["xyzt_units"]) & _UNIT_BITS, _NO_UNIT)


def _in_mm(affine: npt.NDArray[np.float64], header: Any) -> npt.NDArray[np.float64]:
    _, unit_mm = _unit(header)
    return np.asarray(np.diag([unit_mm, unit_mm, unit_mm, 1.0]) @ affine)


def _check_size(name: str, grid: Grid, header: Any) -> None:
    """See that voxels and volume have a size that a head's MR may have, whichever axis is that of the slices."""
    *pixel_mm, slices_mm = sorted(grid.spacing_mm)
    unit, _ = _unit(header)
    said = f"by its header, which gives {unit}; correct the header"
    if not (PIXEL_MM[0] <= pixel_mm[0] <= pixel_mm[1] <= PIXEL_MM[1] and SLICE_MM[0] <= slices_mm <= SLICE_MM[1]):
        raise UnusableSeries(
            f"{name}: its voxels measure {_by(grid.spacing_mm)} mm {said}: of a head, pixels of {PIXEL_MM[0]:g} to "
            f"{PIXEL_MM[1]:g} mm and slices {SLICE_MM[0]:g} to {SLICE_MM[1]:g} mm apart are plausible"
        )
    extent_mm = np.asarray(grid.shape) * grid.spacing_mm
    if extent_mm.max() > MAX_EXTENT_MM:
        raise UnusableSeries(
            f"{name}: the volume measures {_by(extent_mm)} mm {said}: at most {MAX_EXTENT_MM:g} mm are plausible"
        )


def _by(sizes_mm: Iterable[float]) -> str:
    return " x ".join(f"{size:.6g}" for size in reversed([*sizes_mm]))


def _doubt(name: str, grid: Grid, image: Any, header: Any) -> str:
    """A warning where the header does not say how the volume lies, or says it in two ways that differ."""
    by_sform, by_qform = (int(image.header[code]) > 0 for code in ("sform_code", "qform_code"))
    if not by_sform and not by_qform:
        return f"{name}: its header does not say how it lies; left and right may be wrong"
    if not by_sform or not by_qform:
        return ""
    try:
        other = Grid(grid.shape, _in_mm(image.header.get_qform(), header)[:, (*_NIFTI_AXES, 3)])
    # A qform that makes no sense is none.
    except (InvalidInput, nibabel.spatialimages.HeaderDataError, ValueError):
        return ""
    own, its = (each.affine_ras[:3, :3] / each.spacing_mm for each in (grid, other))
    apart_deg = float(np.degrees(np.arccos(np.clip((own * its).sum(axis=0), -1, 1))).max())
    if grid.is_close(other, _APART_MM) and apart_deg <= _APART_DEG:
        return ""
    opposite = sorted({int(np.abs(own[:, axis]).argmax()) for axis in range(3) if own[:, axis] @ its[:, axis] < 0})
    sides = f": they have {', '.join(_SIDES[axis] for axis in opposite)} the other way round" if opposite else ""
    return f"{name}: the two places that its header gives (sform and qform) disagree{sides}; the sform was used"


def _by_role(roles: Mapping[Path, SeriesRole]) -> dict[SeriesRole, tuple[Path, ...]]:
    return {role: tuple(file for file, its in roles.items() if its is role) for role in SeriesRole}


def _stem(name: str) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", name.lower())


def _words(name: str) -> list[str]:
    """A name's words, without those that tell whose space the volume was moved to: t1 of ``t1_to_flair``."""
    stem = _SURGERY.sub(r"\1op", _SPACE.sub("_", _stem(name)).replace("_", " "))
    words = [word for word in re.split(r"[^a-z0-9]+", stem) if word]
    for place, word in enumerate(words):
        if word in _MOVED and (word == "to" or _SHOWN.intersection(words[:place])):
            return words[:place] + _after_target(words[place + 1 :])
    return words


def _after_target(words: list[str]) -> list[str]:
    """What follows the name of a space, such as ``flair``, ``t2 flair`` or ``t1 post``."""
    following = _POST | _PRE if words[:1] and words[0] in _WORDS[SeriesRole.t1_pre] else frozenset[str]()
    following = _WORDS[SeriesRole.flair] if words[:1] and words[0] in _T2 else following
    return words[2 if words[1:2] and words[1] in following else 1 :]


def _without_role(name: str) -> str:
    return "-".join(word for word in _words(name) if word not in _SHOWN | _PRE | {"axial", "ax"})


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened ({error.strerror})"
    return f"not a NIfTI file, damaged or cut off ({type(error).__name__})"
