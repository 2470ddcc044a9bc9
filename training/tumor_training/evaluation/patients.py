"""Which patients are judged, and the rule that no patient judges networks that it trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tumor_training.dataset import list_slices
from tumor_training.evaluation.provenance import Provenance
from tumor_training.splits import Split, read_split
from tumorctl.errors import InvalidInput, LeakedPatients
from tumorctl.io.discovery import SliceFile, mask_path


class Part(str, Enum):
    """Whom to judge on.

    Attributes:
        validation: one fold of the split's development patients.
        test: the split's test patients.
        all: every patient found in the data, in the split or not.
    """

    validation = "validation"
    test = "test"
    all = "all"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The patients to judge.

    Attributes:
        slices: of each patient, in order.
        fold: that validates; None for other parts.
        trained: those among them that trained the networks, or that may have.
    """

    slices: Mapping[str, tuple[SliceFile, ...]]
    fold: int | None
    trained: tuple[str, ...]

    @property
    def folders(self) -> dict[str, Path]:
        """Each patient's folder of slices and labels."""
        return {patient: slices[0].path.parent for patient, slices in self.slices.items()}


def trained_on(provenance: Provenance, split: Split) -> frozenset[str]:
    """Patients that trained the networks of a model repository: the one place where this is decided.

    The manifest names the split by its digest, and the fold that validated. The development patients of the other
    folds trained; where no fold is named, all development patients did. The split given is looked at, and the committed
    one.

    Raises:
        LeakedPatients: neither is the split that the networks were trained with, so that nobody can tell.
    """
    for candidate in (split, read_split()):
        if candidate.digest == provenance.split_sha256:
            trained = candidate.development if provenance.fold is None else candidate.train(provenance.fold)
            return frozenset(trained)
    raise LeakedPatients(
        "the networks were trained with a split that is not at hand, so any patient may have trained them: name the "
        "split file with --split, or allow it with --allow-training-patients"
    )


def choose(
    data: Path, part: Part, fold: int | None, split: Split, provenance: Provenance, *, allow_training: bool = False
) -> Chosen:
    """Find the patients of a part in a data folder.

    Args:
        data: folder with a folder of slices and labels for each patient.
        part: whom to judge on.
        fold: that validates; by default the one of the networks.
        split: whose test or validation patients.
        provenance: of the networks.
        allow_training: judge patients that trained the networks too, or that may have.

    Raises:
        InvalidInput: a patient or label is missing, or folders of two patients have the same name.
        LeakedPatients: a patient trained the networks.
    """
    if part is Part.validation:
        fold = (provenance.fold or 0) if fold is None else fold
        wanted = split.validation(fold)
    elif fold is not None:
        raise InvalidInput("a fold goes with --part validation only")
    else:
        wanted = split.test
    found = _find(data)
    patients = tuple(found) if part is Part.all else wanted
    if missing := [patient for patient in patients if patient not in found]:
        raise InvalidInput(f"no folder of {', '.join(missing)} in {data}")
    slices = {patient: found[patient] for patient in patients}
    if absent := [one for each in slices.values() for one in each if not mask_path(one.path).is_file()]:
        raise InvalidInput(f"{absent[0].name}: no label {mask_path(absent[0].path).name} ({len(absent)} missing)")
    return Chosen(slices, fold, _trained(patients, provenance, split, allow_training))


def _trained(patients: tuple[str, ...], provenance: Provenance, split: Split, allow: bool) -> tuple[str, ...]:
    try:
        known = trained_on(provenance, split)
    except LeakedPatients:
        if not allow:
            raise
        return patients
    trained = tuple(patient for patient in patients if patient in known)
    if trained and not allow:
        raise LeakedPatients(
            f"{len(trained)} of {len(patients)} patients trained these networks, {trained[0]} among them: figures on "
            "them say nothing of new patients; --allow-training-patients judges them all the same"
        )
    return trained


def _find(data: Path) -> dict[str, tuple[SliceFile, ...]]:
    """Slices by patient: each folder with slices is a patient, named like the folder."""
    slices, unreadable = list_slices(data)
    if unreadable:
        raise InvalidInput(f"{unreadable[0].name} cannot be listed ({unreadable[0].reason})")
    by_folder: dict[Path, list[SliceFile]] = {}
    for item in slices:
        by_folder.setdefault(item.path.parent, []).append(item)
    found: dict[str, tuple[SliceFile, ...]] = {}
    for folder, items in sorted(by_folder.items()):
        name = folder.name or folder.resolve().name
        if name in found or any(parent in by_folder for parent in folder.parents):
            raise InvalidInput(f"{folder}: each patient needs one folder of slices, with a name of its own")
        found[name] = tuple(items)
    return found
