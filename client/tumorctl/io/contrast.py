"""Which of several T1-weighted series came before contrast agent and which after it, where none of them says so.

Protocols repeat a series after contrast agent to compare the two, and what is acquired later may show the agent. That
is a weak hint: what rests on it is said with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tumorctl.io.series import SeriesTraits

_ALIKE = 0.2
"""By how much repeated series may differ in their times and numbers of slices, as a share."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What the order of acquisition says of series that do not say it themselves; indices are those of the traits.

    Attributes:
        after: the series taken to be from after contrast agent, with why; None where nothing is.
        late: series that are less likely to be from before it than the others.
        warnings: by series, what to say where it is used.
    """

    after: tuple[int, str] | None = None
    late: frozenset[int] = frozenset()
    warnings: Mapping[int, str] = field(default_factory=dict)


def guess_contrast(
    names: Sequence[str], traits: Sequence[SeriesTraits], *, before: set[int], silent: set[int], after: set[int]
) -> Guess:
    """Tell what the order of acquisition suggests.

    Where a series says that it is from after contrast agent, silent ones that were acquired later are unlikely to be
    from before it. Where none does, the last of the silent series that repeat another one is taken to be.

    Args:
        names: of all series, as messages have them.
        traits: of all series, in the order of the scanner's numbers.
        before: T1-weighted series that say that they are from before contrast agent.
        silent: T1-weighted series that say nothing.
        after: those that say that they are from after it.
    """
    if after:
        late = frozenset(each for each in silent if all(_is_later(each, other, traits) for other in after))
        return Guess(
            late=late,
            warnings={
                each: f"{names[each]} does not tell of a contrast agent, but was acquired later than "
                f"{_listed([names[other] for other in sorted(after)])} from after it; if it is not from before it, "
                "name the series that is with --t1-pre"
                for each in late
            },
        )
    pairs = [
        (each, earlier)
        for each in silent
        for earlier in before | silent
        if _is_later(each, earlier, traits) and _repeats(traits[each], traits[earlier])
    ]
    if pairs:
        last = max((each for each, _ in pairs), key=lambda each: (traits[each].acquired, each))
        first = min((other for each, other in pairs if each == last), key=lambda each: (traits[each].acquired, each))
        late = frozenset(each for each, _ in pairs)
        doubt = (
            f"{names[last]} is taken to be from after contrast agent, only because it repeats {names[first]} and was "
            "acquired later: neither header nor description tells; if that is wrong, name the series with --t1-pre and "
            "--t1-post"
        )
        return Guess((last, f"it repeats {names[first]} and was acquired later"), late, {last: doubt})
    if len(silent) > 1:
        doubt = (
            f"nothing tells whether {_listed([names[each] for each in sorted(silent)])} are from before or after "
            "contrast agent, and all count as before; if one is from after, name it with --t1-post"
        )
        return Guess(warnings=dict.fromkeys(silent, doubt))
    return Guess()


def _is_later(one: int, other: int, traits: Sequence[SeriesTraits]) -> bool:
    mine, theirs = traits[one].acquired, traits[other].acquired
    # Copies of one acquisition, such as corrected ones, have its time.
    return mine > theirs if mine and theirs else one > other


def _repeats(one: SeriesTraits, other: SeriesTraits) -> bool:
    """Whether two series were acquired in the same way, as far as it is known."""
    sizes = [
        (one.echo_time_ms, other.echo_time_ms),
        (one.repetition_time_ms, other.repetition_time_ms),
        (one.inversion_time_ms, other.inversion_time_ms),
        (one.slices, other.slices),
    ]
    same_kind = one.plane is other.plane and ("DERIVED" in one.image_type) == ("DERIVED" in other.image_type)
    return same_kind and all(_near(mine, its) for mine, its in sizes if mine and its)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _ALIKE * max(one, other)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
