"""Which series of a study plays which role for the networks, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tumorctl.errors import MissingFlair, NoSuchSeries
from tumorctl.io.contrast import Guess, guess_contrast
from tumorctl.io.kinds import Kind, Verdict, after_contrast, classify
from tumorctl.io.series import Plane, SeriesTraits
from tumorctl.types import SeriesChoice, SeriesRole


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series that may play a role.

    Attributes:
        name: without patient data; shown.
        traits: what tells its role.
        number: the number the scanner gave it, if any.
        files: paths of its files, relative to what the caller named, with ``/``.
    """

    name: str
    traits: SeriesTraits
    number: int | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate for a role.

    Attributes:
        index: its place among the candidates.
        choice: what to say where it is taken.
        warning: what a reader of the result should know where it is taken; empty if nothing.
    """

    index: int
    choice: SeriesChoice
    warning: str = ""


_ROLE_OF_KIND: Final = {
    Kind.t1_pre: SeriesRole.t1_pre,
    Kind.flair: SeriesRole.flair,
    Kind.t1_post: SeriesRole.t1_post,
}
_FLAG_OF_ROLE: Final = {
    SeriesRole.t1_pre: "--t1-pre",
    SeriesRole.flair: "--flair",
    SeriesRole.t1_post: "--t1-post",
}


def ranked(
    candidates: Sequence[Candidate], named: Mapping[SeriesRole, str] | None = None
) -> dict[SeriesRole, tuple[Ranked, ...]]:
    """Find the candidates for each role, the best first.

    Where several fit, axial ones come first, then original ones before derived ones, then those with more slices and
    finer ones. A FLAIR or T1 from before contrast agent comes before one that may be from after it. Where T1s do not
    tell, see `tumorctl.io.contrast`.

    Args:
        candidates: all image series of a study.
        named: series that the caller chose: a role's value is a place as messages count it (``3`` or ``series 3``), the
            scanner's own number (``#301``), a file or folder of the series, or a part of its description.

    Returns:
        For each role its candidates; a role without any is absent.

    Raises:
        NoSuchSeries: a name fits no series, or more than one.
    """
    chosen = {role: _find(candidates, role, name) for role, name in (named or {}).items()}
    verdicts = [classify(candidate.traits) for candidate in candidates]
    guess = _guess(candidates, verdicts, chosen)
    if guess.after is not None:
        index, why = guess.after
        verdicts[index] = replace(verdicts[index], kind=Kind.t1_post, reason=f"{verdicts[index].reason}, but {why}")
    roles: dict[SeriesRole, tuple[Ranked, ...]] = {}
    for role in SeriesRole:
        if role in chosen:
            index = chosen[role]
            roles[role] = (Ranked(index, SeriesChoice(role, candidates[index].name, "named by the caller")),)
            continue
        fitting = [
            index
            for index, verdict in enumerate(verdicts)
            if _ROLE_OF_KIND.get(verdict.kind) is role and index not in chosen.values()
        ]
        orders = {
            index: _order(role, candidates[index].traits, verdicts[index], index in guess.late) for index in fitting
        }
        fitting.sort(key=lambda index: orders[index])
        reasons = _reasons(role, fitting, candidates, verdicts, orders)
        if fitting:
            roles[role] = tuple(
                Ranked(index, SeriesChoice(role, candidates[index].name, reason), guess.warnings.get(index, ""))
                for index, reason in zip(fitting, reasons, strict=True)
            )
    return roles


def missing_flair(candidates: Sequence[Candidate]) -> MissingFlair:
    """The error for a study in which no series is a FLAIR: what there is instead, and how to name one."""
    found = "; ".join(f"{each.name}: {_description(each.traits)}" for each in candidates[:_SHOWN])
    more = f"; and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
    return MissingFlair(
        f"no series is recognised as a FLAIR, which the tumour is outlined on (found {found or 'no series'}{more}). "
        "If one of them is, name it: --flair with its place in this list, its number, its folder or a part of its "
        "description"
    )


_SHOWN: Final = 12
"""Series that a message lists at most."""


def _guess(candidates: Sequence[Candidate], verdicts: Sequence[Verdict], chosen: Mapping[SeriesRole, int]) -> Guess:
    """What the order of acquisition says of T1s that do not tell; nothing of those that the caller named."""
    free = set(range(len(candidates))) - set(chosen.values())
    before = {index for index, each in enumerate(verdicts) if each.kind is Kind.t1_pre and not each.silent}
    after = {index for index, each in enumerate(verdicts) if each.kind is Kind.t1_post}
    before |= {index for role, index in chosen.items() if role is SeriesRole.t1_pre}
    after |= {index for role, index in chosen.items() if role is SeriesRole.t1_post}
    return guess_contrast(
        [candidate.name for candidate in candidates],
        [candidate.traits for candidate in candidates],
        before=before - after,
        silent={index for index in free if verdicts[index].silent},
        after=after - {chosen.get(SeriesRole.t1_pre)},
    )


def _order(role: SeriesRole, traits: SeriesTraits, verdict: Verdict, late: bool) -> tuple[float, ...]:
    return (
        not verdict.by_word,
        after_contrast(traits) if role is SeriesRole.flair else role is SeriesRole.t1_pre and late,
        traits.plane is not Plane.axial,
        "DERIVED" in traits.image_type,
        -traits.slices,
        traits.slice_spacing_mm or float("inf"),
    )


_ADVANTAGES: Final = (
    "named in its description",
    "from before contrast agent",
    "axial",
    "original, not derived",
    "more slices",
    "finer slices",
)


def _reasons(
    role: SeriesRole,
    fitting: Sequence[int],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    orders: Mapping[int, tuple[float, ...]],
) -> list[str]:
    reasons = []
    for place, index in enumerate(fitting):
        own = orders[index]
        reason = verdicts[index].reason
        if role is SeriesRole.flair and own[1]:
            reason += ", though after contrast agent"
        for other in fitting[place + 1 :]:
            pairs = zip(_ADVANTAGES, own, orders[other], strict=True)
            advantage = next((name for name, mine, its in pairs if mine < its), "it comes first")
            reason += f"; preferred to {candidates[other].name}: {advantage}"
        reasons.append(reason)
    return reasons


def _find(candidates: Sequence[Candidate], role: SeriesRole, name: str) -> int:
    wanted = name.strip()
    place = re.fullmatch(r"(?:series )?(\d{1,6})(?: of \d+)?", wanted.lower())
    number = re.fullmatch(r"#(\d{1,9})", wanted)
    path = wanted.replace("\\", "/").removeprefix("./").rstrip("/")
    if number:
        fitting = [index for index, each in enumerate(candidates) if each.number == int(number.group(1))]
    elif place:
        fitting = [int(place.group(1)) - 1] if 1 <= int(place.group(1)) <= len(candidates) else []
    elif wanted:
        fitting = [
            index
            for index, each in enumerate(candidates)
            if any(file == path or file.startswith(f"{path}/") for file in (*each.files, each.name))
        ] or [index for index, each in enumerate(candidates) if wanted.lower() in each.traits.text]
    else:
        fitting = []
    if len(fitting) == 1:
        return fitting[0]
    what = ", ".join(candidates[index].name for index in fitting[:_SHOWN]) if fitting else "no series"
    raise NoSuchSeries(
        f"{_FLAG_OF_ROLE[role]} fits {what} of the {len(candidates)}: name one by its place (3), the scanner's number "
        "(#301), its folder or file, or a part of its description that no other has"
    )


def _description(traits: SeriesTraits) -> str:
    size = f"{traits.slices} {traits.plane.value + ' ' if traits.plane else ''}slices, " if traits.slices else ""
    return size + classify(traits).kind.value
