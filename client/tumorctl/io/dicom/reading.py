"""DICOM files and datasets to studies, with a series chosen for each role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from tumorctl.core.geometry import Volume
from tumorctl.errors import InvalidInput, TumorctlError, UnreadableStudy, WrongModality
from tumorctl.io.dicom.files import Damaged, Source, sources_of
from tumorctl.io.dicom.parting import stacks_of
from tumorctl.io.dicom.pixels import voxels_of
from tumorctl.io.dicom.privacy import may_show
from tumorctl.io.dicom.quiet import privately
from tumorctl.io.dicom.slices import Slice, number, slices_of
from tumorctl.io.dicom.stacks import Stack
from tumorctl.io.dicom.traits import traits_of
from tumorctl.io.selection import Candidate, Ranked, missing_flair, ranked
from tumorctl.io.series import Series, SeriesChoice, SeriesRole, SeriesTraits, StudyFailure, StudyInput

_MR: Final = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
_NO_SCANS: Final = frozenset({"SEG", "SR", "DOC", "KO", "PR", "OT", "RTSTRUCT", "REG", "RWV", "FID", "AU", ""})
"""Modalities of what is made from scans, our own results among them: not looked at."""


def read_dicom(
    given: Iterable[Path | Dataset], *, named: Mapping[SeriesRole, str] | None = None, inside: str = ""
) -> Iterator[StudyInput | StudyFailure]:
    """Read studies from files, folders and datasets, whatever they are called and however they are mixed.

    Only the series that are chosen are decoded. A study that cannot be used does not stop the others.

    Args:
        given: DICOM files, folders of them at any depth, or datasets with pixels. What is not an MR image is passed
            over: reports, segmentations, other files.
        named: series that the caller chose, see `tumorctl.io.selection.ranked`; the same for each study.
        inside: what was unpacked for it, such as a zip file: the first part of the studies' names.

    Yields:
        Each study, in the order in which their first files are found.

    Raises:
        InvalidInput: a path does not exist.
    """
    given = list(given)
    sources, damaged = _found(given)
    studies = _grouped(sources, damaged, inside)
    if not studies and not damaged:
        passed = "; results and other objects without scans were passed over" if sources else ""
        yield StudyFailure("study 1", UnreadableStudy(f"no DICOM images found{passed}: name a folder that holds some"))
    for study in studies:
        yield _outcome(study, named)
    told = {id(each) for study in studies for each in study.damaged}
    secrets = _secrets(sources)
    for place, each in enumerate([each for each in damaged if id(each) not in told], len(studies) + 1):
        name = each.name if may_show(each.name, secrets) else f"study {place}"
        yield StudyFailure(name, each.error)


@dataclass(frozen=True)
class _Study:
    name: str
    sources: list[Source] = field(repr=False)
    damaged: list[Damaged]


def _found(given: Sequence[Path | Dataset]) -> tuple[list[Source], list[Damaged]]:
    sources: list[Source] = []
    damaged: list[Damaged] = []
    for each in sources_of(given):
        if isinstance(each, Damaged):
            damaged.append(each)
        else:
            sources.append(each)
    return sources, damaged


def _grouped(sources: Iterable[Source], damaged: Iterable[Damaged], inside: str) -> list[_Study]:
    groups: dict[object, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.study or (source.path and source.path.parent), []).append(source)
    groups = {uid: group for uid, group in groups.items() if any(_is_scan(each) for each in group)}
    folders = [_folder(group) for group in groups.values()]
    studies = []
    taken: set[str] = set()
    for place, (group, folder) in enumerate(zip(groups.values(), folders, strict=True), 1):
        secrets = _secrets(group)
        root = group[0].root
        name = str(folder) if folder.parts else root.resolve().name if root is not None and root.is_dir() else ""
        name = "/".join((inside, *folder.parts)) if inside else name
        if folders.count(folder) > 1 or not name or name in taken or not may_show(name, secrets):
            name = f"study {place}"
        taken.add(name)
        beside = {(source.root, PurePosixPath(source.name).parent) for source in group if source.root is not None}
        parents = {parent for _, parent in beside}
        studies.append(_Study(name, group, [each for each in damaged if PurePosixPath(each.name).parent in parents]))
    return studies


def _secrets(sources: Sequence[Source]) -> frozenset[str]:
    instances = {source.instance for source in sources} - {""}
    return frozenset(instances).union(*{source.secrets for source in sources})


def _folder(group: Sequence[Source]) -> PurePosixPath:
    """The folder that all files of a study are in, relative to what the caller named."""
    parents = [PurePosixPath(source.name).parent.parts for source in group]
    common = [parts[0] for parts in zip(*parents, strict=False) if len(set(parts)) == 1]
    shared = PurePosixPath(*common)
    return shared if all(parent[: len(shared.parts)] == shared.parts for parent in parents) else PurePosixPath()


def _is_scan(source: Source) -> bool:
    # MR by modality alone are secondary captures, spectra and raw data.
    return source.sop_class in _MR or source.modality not in {*_NO_SCANS, "MR"}


def _outcome(study: _Study, named: Mapping[SeriesRole, str] | None) -> StudyInput | StudyFailure:
    try:
        return _read(study, named)
    except TumorctlError as error:
        damage = "; ".join(_Namer(study).damage())
        return StudyFailure(study.name, type(error)(f"{error}; {damage}") if damage else error)


def _read(study: _Study, named: Mapping[SeriesRole, str] | None) -> StudyInput:
    scans = [source for source in study.sources if source.sop_class in _MR and source.modality in ("MR", "")]
    if not scans:
        others = Counter(source.modality or "other" for source in study.sources if _is_scan(source))
        found = ", ".join(f"{count} of modality {name}" for name, count in others.items() if name.isalnum())
        raise WrongModality(f"no MR images in it (found: {found or 'others'}); tumours are looked for in MR alone")
    _check_one_patient(scans)
    namer = _Namer(study)
    warnings = [*namer.damage()]
    told, broken = _stacks(scans, namer)
    stacks = [each.stack for each in told]
    warnings += [str(error) for error in broken]
    candidates = [
        Candidate(
            name=f"series {place} of {len(told)}",
            traits=each.traits,
            number=each.number,
            files=tuple(dict.fromkeys(part.source.name for part in each.stack.slices if part.source.name)),
        )
        for place, each in enumerate(told, 1)
    ]
    roles = ranked(candidates, named)
    if SeriesRole.flair not in roles:
        # The FLAIR may be what is broken.
        raise broken[0] if broken else missing_flair(candidates)
    chosen: dict[SeriesRole, tuple[Series, SeriesChoice]] = {}
    for role, options in roles.items():
        picked = _pick(role, options, candidates, stacks, namer, must=role in (named or {}))
        warnings += picked.warnings
        if picked.series is not None:
            chosen[role] = picked.series
    return StudyInput(study.name, chosen, tuple(warnings))


def _check_one_patient(scans: Sequence[Source]) -> None:
    """See that a study is of one patient: by number, and by name where one has no number.

    Raises:
        UnreadableStudy: it is of several.
    """
    numbers = {source.patient_id for source in scans}
    names = {source.patient_name for source in scans} - {""}
    if len(numbers - {""}) > 1 or ("" in numbers and len(names) > 1):
        raise UnreadableStudy(
            "its series are of different patients by their headers (number or name of the patient): nothing is made of "
            "them; send each patient's study by itself"
        )


@dataclass(frozen=True)
class _Picked:
    series: tuple[Series, SeriesChoice] | None
    warnings: list[str]


def _pick(
    role: SeriesRole,
    options: Sequence[Ranked],
    candidates: Sequence[Candidate],
    stacks: Sequence[Stack],
    namer: _Namer,
    *,
    must: bool,
) -> _Picked:
    """The first candidate that can be used; a FLAIR, or a series that the caller named, must be among them."""
    errors: list[TumorctlError] = []
    warnings: list[str] = []
    for option in options:
        try:
            series = _series(candidates[option.index], stacks[option.index], namer)
            warnings += [option.warning] if option.warning else []
            return _Picked((series, option.choice), warnings)
        except InvalidInput as error:  # noqa: PERF203 - the next candidate may do
            errors.append(error)
            warnings.append(f"{error}; it was not used for {role.value}")
    if must or role is SeriesRole.flair:
        raise errors[0]
    return _Picked(None, warnings)


def _series(candidate: Candidate, stack: Stack, namer: _Namer) -> Series:
    try:
        return privately(lambda: _decoded(candidate, stack, namer), _odd_header)
    except InvalidInput as error:
        failure = type(error)(f"{candidate.name}: {error}")
    raise failure


def _decoded(candidate: Candidate, stack: Stack, namer: _Namer) -> Series:
    grid = stack.grid(namer.file)
    voxels = voxels_of(stack, namer.file)
    headers = [each.header for each in stack.slices]
    multi_frame = stack.slices[0].frame is not None
    return Series(
        name=candidate.name,
        volume=Volume(voxels, grid),
        description=candidate.traits,
        instances=tuple(_settled(header) for header in (headers[:1] if multi_frame else headers)),
        frames=tuple(each.frame for each in stack.slices if each.frame is not None),
    )


@dataclass(frozen=True)
class _Told:
    """A stack with what its header tells of it."""

    stack: Stack
    traits: SeriesTraits
    number: int | None


def _stacks(scans: Sequence[Source], namer: _Namer) -> tuple[list[_Told], list[InvalidInput]]:
    """All stacks of a study in the order of their series' numbers, and what cannot be parted into stacks."""
    series: dict[str, list[Slice]] = {}
    broken: list[InvalidInput] = []
    for source in scans:
        try:
            slices = privately(lambda source=source: slices_of(source), _odd_header)  # type: ignore[misc]
        except InvalidInput as error:
            broken.append(type(error)(f"{namer.source(source)}: {error}"))
            continue
        series.setdefault(source.series, []).extend(slices)
    stacks: list[_Told] = []
    for slices in series.values():
        try:
            stacks += privately(lambda slices=slices: _told(slices), _odd_header)  # type: ignore[misc]
        except InvalidInput as error:  # noqa: PERF203 - the other series may do
            broken.append(type(error)(f"the series of {namer.source(slices[0].source)}: {error}; it was not used"))
    unknown = float("inf")
    stacks.sort(key=lambda each: unknown if each.number is None else each.number)
    return stacks, broken


def _told(slices: Sequence[Slice]) -> list[_Told]:
    return [_Told(stack, traits_of(stack), _series_number(stack)) for stack in stacks_of(slices)]


def _series_number(stack: Stack) -> int | None:
    given = number(stack.slices[0].find("SeriesNumber"))
    return None if given is None else int(given)


class _Namer:
    """Names files in messages; one whose name may be the patient's goes by its place."""

    def __init__(self, study: _Study) -> None:
        self._study = study
        self._secrets = _secrets(study.sources)
        self._places = {id(source): place for place, source in enumerate(study.sources, 1)}

    def source(self, source: Source) -> str:
        """A file's name, or which of the study's files it is."""
        if source.name and may_show(source.name, self._secrets):
            return source.name
        return f"{'file' if source.name else 'dataset'} {self._places[id(source)]} of {len(self._places)}"

    def file(self, each: Slice) -> str:
        """Where a slice came from."""
        name = self.source(each.source)
        return name if each.frame is None else f"frame {each.frame + 1} of {name}"

    def damage(self) -> Iterator[str]:
        """A warning where files beside the study's cannot be read: slices may be missing at an end."""
        damaged = self._study.damaged
        if damaged:
            first = damaged[0]
            name = f", {first.name} the first" if may_show(first.name, self._secrets) else ""
            files = "a file" if len(damaged) == 1 else f"{len(damaged)} files"
            yield f"{files} beside the study's cannot be read{name}: {first.error}; slices may be missing"


def _settled(header: Dataset) -> Dataset:
    """The header with each value converted now, quietly, so that none warns or fails later; odd values are dropped."""

    def settle() -> Dataset:
        for tag in list(header.keys()):
            try:
                for item in header[tag].value if header[tag].VR == "SQ" else ():
                    _settled(item)
            # Any value may be odd in any way.
            except Exception:  # noqa: PERF203
                del header[tag]
        return header

    return privately(settle, _odd_header)


def _odd_header(kind: str) -> UnreadableStudy:
    return UnreadableStudy(f"a header has values that make no sense ({kind}); have the study sent again")
