"""Which patients train, which choose, which judge. Never split by slice: slices of a patient are near-copies."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from tumorctl.errors import InvalidInput, LeakedPatients

COMMITTED_SPLIT = "lgg.json"


def site_of(patient: str) -> str:
    """The institution code of a TCGA patient name: ``TCGA_CS_4941_19960909`` came from ``CS``."""
    parts = patient.split("_")
    return parts[1] if len(parts) > 2 and parts[0] == "TCGA" else ""


@dataclass(frozen=True, slots=True)
class Split:
    """A patient-level split.

    Attributes:
        test: patients that judge the final networks; they train nothing and set no threshold.
        folds: the development patients in disjoint folds; one fold validates while the others train.
    """

    test: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        everyone = [*self.test, *self.development]
        if len(set(everyone)) != len(everyone):
            repeated = sorted({patient for patient in everyone if everyone.count(patient) > 1})
            raise LeakedPatients(f"the split leaks: {', '.join(repeated)} on more than one side")

    @property
    def development(self) -> tuple[str, ...]:
        """All patients that may choose something."""
        return tuple(patient for fold in self.folds for patient in fold)

    def validation(self, fold: int | None) -> tuple[str, ...]:
        """Patients that choose when `fold` validates; none where no fold does.

        Raises:
            InvalidInput: there is no such fold.
        """
        if fold is None:
            return ()
        if not 0 <= fold < len(self.folds):
            raise InvalidInput(f"fold {fold}: the split has folds 0 to {len(self.folds) - 1}")
        return self.folds[fold]

    def train(self, fold: int | None) -> tuple[str, ...]:
        """Patients that train when `fold` validates; all development patients where no fold does.

        Raises:
            InvalidInput: there is no such fold.
        """
        held_out = set(self.validation(fold))
        return tuple(patient for patient in self.development if patient not in held_out)

    @property
    def digest(self) -> str:
        """SHA-256 of the split as it is committed; the same for the same patients on the same sides."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The split as it is committed."""
        return json.dumps({"test": self.test, "folds": self.folds}, indent=1) + "\n"


def make_split(patients: Iterable[str], test: Iterable[str], *, folds: int = 5, seed: int = 0) -> Split:
    """Deal the patients that are not test patients into folds, site by site, so that each fold has its share of each.

    Raises:
        InvalidInput: fewer development patients than folds, or a test patient that is not in the data.
    """
    everyone, held_out = set(patients), set(test)
    if missing := held_out - everyone:
        raise InvalidInput(f"test patients without data: {', '.join(sorted(missing))}")
    by_site: dict[str, list[str]] = {}
    for patient in sorted(everyone - held_out):
        by_site.setdefault(site_of(patient), []).append(patient)
    if sum(map(len, by_site.values())) < folds or folds < 2:
        raise InvalidInput(f"{folds} folds need at least 2 folds and as many development patients")
    shuffle = random.Random(seed)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    turn = 0
    for site in sorted(by_site):
        queue = by_site[site]
        shuffle.shuffle(queue)
        for patient in queue:
            dealt[turn % folds].append(patient)
            turn += 1
    return Split(test=tuple(sorted(held_out)), folds=tuple(tuple(sorted(fold)) for fold in dealt))


def read_split(path: Path | None = None) -> Split:
    """Read a split file; without a path, the committed split of the LGG data set.

    Raises:
        InvalidInput: the file cannot be read, or a patient stands on both sides.
    """
    if path is None:
        return _committed()
    try:
        return _parse(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not a split file ({type(error).__name__})") from error


@cache
def _committed() -> Split:
    return _parse(json.loads((files("tumor_training") / "split_files" / COMMITTED_SPLIT).read_text("utf-8")))


def _parse(content: Mapping[str, list[list[str]] | list[str]]) -> Split:
    return Split(test=tuple(map(str, content["test"])), folds=tuple(tuple(fold) for fold in content["folds"]))
