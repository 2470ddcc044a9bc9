"""Which series of a study plays which role for the networks, and why.

A header says it in words that people type and in times that physics dictates. Either may be missing: each is weighed,
and what counted is kept as the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from tumorctl.errors import MissingFlair, NoSuchSeries
from tumorctl.io.contrast import Guess, guess_contrast
from tumorctl.io.series import Plane, SeriesTraits
from tumorctl.types import SeriesChoice, SeriesRole


class Kind(str, Enum):
    """What a series is, in the words that messages use."""

    flair = "FLAIR"
    t1_pre = "T1 before contrast agent"
    t1_post = "T1 after contrast agent"
    t2 = "T2"
    proton_density = "proton density"
    stir = "STIR"
    localiser = "localiser"
    diffusion = "diffusion"
    perfusion = "perfusion"
    susceptibility = "susceptibility"
    vessels = "angiography, spectroscopy or functional imaging"
    derived = "projection, reformation, subtraction or map"
    unknown = "of unknown weighting"


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
class Verdict:
    """What a series is, and why.

    Attributes:
        kind: what it is.
        reason: what counted, without free text of the header.
        by_word: whether its description names the kind.
        silent: whether it is a T1 of which nothing tells whether contrast agent had been given.
    """

    kind: Kind
    reason: str
    by_word: bool = False
    silent: bool = False


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

# Words are looked for between blanks: "_", "." and the like part words, and so do the ends.
_SET_ASIDE: Final = {
    Kind.localiser: r"locali[sz]er\w*|scout|survey|loc|3 ?pl(?:ane)?|aahead\w*|smart ?brain|calibration|prescan",
    Kind.diffusion: r"e?dwi\w*|diff\w*|e?adc|trace\w*|dti|tensor|b ?1000|apparent",
    Kind.perfusion: r"perf\w*|dsc|dce|asl|r?cb[vf]|mtt|ttp|pwi",
    Kind.susceptibility: r"swi\w*|swan|swip|susc\w*|h[ae]?emo|t2 ?\*|t2 ?star|venobold|phase",
    Kind.vessels: r"tof|mra|mrv|angio\w*|mrs|svs|csi|bold|fmri|spectro\w*",
    Kind.derived: r"min ?ip|mip|mpr|subtr\w*|subs?(?= (?:$|t1|post|pre|gd|km|c|ax|tra|sag|cor))"
    r"|reform\w*|map|maps|fused|collage|screen ?save",
}
_SET_ASIDE_TYPES: Final = {
    Kind.localiser: {"LOCALIZER"},
    Kind.diffusion: {"DIFFUSION", "ADC", "TRACEW", "FA", "EADC"},
    Kind.perfusion: {"PERFUSION", "ASL", "CBF", "CBV", "RCBV", "MTT", "TTP"},
    Kind.susceptibility: {"SWI", "PHASE", "PHASE MAP", "P"},
    Kind.vessels: {"TOF", "ANGIO"},
    Kind.derived: {
        "MIP",
        "MNIP",
        "MPR",
        "SUBTRACT",
        "SUBTRACTION",
        "PROJECTION IMAGE",
        "MAX_IP",
        "MIN_IP",
        "REFORMATTED",
        "T1 MAP",
        "T2 MAP",
        "SCREEN SAVE",
    },
}
_FLAIR_WORD: Final = r"t?flair\w*|\w+flair|dark ?fluid|fluid attenuated|t2f|ir ?tse ?long"
_FLAIR_WORD_IF_SLOW: Final = r"tirm|da ?fl"
_T1_WORD: Final = r"\w*t1w?|t1(?:c|ce|gd|n|wce?|fl\w*)|mprage\w*|mp ?rage|bravo|f?spgr|vibe|tfl(?:3d\w*)?|flash\w*"
_T2_WORD: Final = r"t2w?|\w*t2w?"
_STIR_WORD: Final = r"stir"
_PD_WORD: Final = r"pdw?|proton density|dp"
_AGENT: Final = r"gd|gad\w*|contrast\w*|km|kontrast\w*|mdc|cm|agent"
_BEFORE_WORD: Final = (
    rf"(?:w ?/ ?o|wo|without|no|non|ohne|sans|senza|sin|vor) ?(?:iv )?(?:{_AGENT}|c)|(?:w ?/ ?o|wo)(?! (?:fs|fat))"
    rf"|pre(?! ?op)|pre ?(?:{_AGENT})|nativ\w*|unenhanced|noncontrast|plain|t1n|before"
)
_AFTER_WORD: Final = (
    rf"post(?! ?op)|post ?(?:{_AGENT}|c)|{_AGENT}|\+ ?(?:c|gd)|c ?\+|ce|enhanced|after|\w+gd|\w*gado\w*"
    r"|dotarem|prohance|multihance|magnevist|clariscan|t1(?:c|ce|gd|wce?)"
)
_WITH_AND_WITHOUT: Final = re.compile(
    rf"(?<= )w(?:ith)? ?/? ?(?:and |\+ ?)?(?:wo|w ?/ ?o|without) (?:(?:{_AGENT}|c)(?= ))?"
)
"""How a whole protocol is called that has both."""


def classify(traits: SeriesTraits) -> Verdict:
    """Tell what a series is.

    Args:
        traits: as far as they are known.
    """
    text = _words(traits.text)
    return _set_aside(traits, text) or _weighting(traits, text)


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


def _words(text: str) -> str:
    apart = re.sub(r"[^\w+*/]+|_", " ", text.lower()).replace("+", " +")
    return " " + " ".join(apart.split()) + " "


def _match(pattern: str, text: str) -> re.Match[str] | None:
    """The first match of a pattern between blanks."""
    return re.search(rf"(?<= )(?:{pattern})(?= )", text)


def _word(pattern: str, text: str) -> str | None:
    match = _match(pattern, text)
    return match.group().strip() if match else None


def _agent_word(text: str) -> tuple[bool, str] | None:
    """Whether words tell of a contrast agent, and which; the first counts, for the series' own come before others'."""
    text = _WITH_AND_WITHOUT.sub("", text)
    before, after = _match(_BEFORE_WORD, text), _match(_AFTER_WORD, text)
    if before and (not after or before.start() <= after.start()):
        return False, before.group().strip()
    return (True, after.group().strip()) if after else None


def _set_aside(traits: SeriesTraits, text: str) -> Verdict | None:
    types = set(traits.image_type)
    for kind, pattern in _SET_ASIDE.items():
        if found := types & _SET_ASIDE_TYPES[kind]:
            return Verdict(kind, f"image type {min(found)}")
        if word := _word(pattern, text):
            return Verdict(kind, f"'{word}' in the description", by_word=True)
    return Verdict(Kind.diffusion, "a diffusion weighting in the header") if traits.diffusion else None


def _weighting(traits: SeriesTraits, text: str) -> Verdict:
    echo, repetition, inversion = traits.echo_time_ms, traits.repetition_time_ms, traits.inversion_time_ms
    # Fluid has no signal where it is inverted some 2 s before: far from the 0.1 to 1.3 s of STIR and T1.
    slow_inversion = inversion is not None and 1500 <= inversion <= 3500
    long_echo = echo is not None and echo >= 60
    short_echo = echo is not None and echo <= 35
    times = _times(traits)
    t1_word = _word(_T1_WORD, text)
    flair_word = _word(_FLAIR_WORD, text) or (_word(_FLAIR_WORD_IF_SLOW, text) if slow_inversion else None)
    # The "T1 FLAIR" of some scanners is a T1: its inversion or its echo is short.
    is_t1_flair = t1_word is not None and not slow_inversion and not long_echo
    if flair_word and not is_t1_flair and not (inversion is not None and 0 < inversion < 1300 and short_echo):
        return Verdict(Kind.flair, _because(times if slow_inversion else "", flair_word), by_word=True)
    if slow_inversion and not short_echo and not t1_word and (repetition is None or repetition >= 4000):
        return Verdict(Kind.flair, _because(times, None))
    if word := _word(_STIR_WORD, text):
        return Verdict(Kind.stir, _because("", word), by_word=True)
    if t1_word and not long_echo:
        return _t1(traits, text, _because("", t1_word), by_word=True)
    if word := _word(_T2_WORD, text):
        return Verdict(Kind.t2, _because("", word), by_word=True)
    if word := _word(_PD_WORD, text):
        return Verdict(Kind.proton_density, _because("", word), by_word=True)
    if long_echo:
        return Verdict(Kind.t2, _because(times, None))
    if "EP" in traits.scanning:
        return Verdict(Kind.unknown, "echo-planar")
    if short_echo and repetition is not None:
        inverted = inversion is not None and 400 <= inversion <= 1300
        if repetition <= 1200 or inverted:
            return _t1(traits, text, _because(times, None), by_word=False)
        if not inversion:
            return Verdict(Kind.proton_density, _because(times, None))
    return Verdict(Kind.unknown, "neither its times nor its description tell")


def _t1(traits: SeriesTraits, text: str, reason: str, *, by_word: bool) -> Verdict:
    if said := _agent_word(text):
        return Verdict(Kind.t1_post if said[0] else Kind.t1_pre, f"{reason}, and '{said[1]}'", by_word)
    if traits.contrast:
        return Verdict(Kind.t1_post, f"{reason}, and a contrast agent in the header", by_word)
    return Verdict(Kind.t1_pre, f"{reason}, and nothing tells of a contrast agent", by_word, silent=True)


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


def _because(times: str, word: str | None) -> str:
    return " and ".join(filter(None, (times, f"'{word.upper()}' in the description" if word else "")))


def _times(traits: SeriesTraits) -> str:
    known = {
        "inversion": traits.inversion_time_ms,
        "echo": traits.echo_time_ms,
        "repetition": traits.repetition_time_ms,
    }
    if traits.inversion_time_ms:
        return f"inversion time {traits.inversion_time_ms:g} ms"
    return " and ".join(f"{name} time {value:g} ms" for name, value in known.items() if value)


def _order(role: SeriesRole, traits: SeriesTraits, verdict: Verdict, late: bool) -> tuple[float, ...]:
    return (
        not verdict.by_word,
        _after_contrast(traits) if role is SeriesRole.flair else role is SeriesRole.t1_pre and late,
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


def _after_contrast(traits: SeriesTraits) -> bool:
    said = _agent_word(_words(traits.text))
    return said[0] if said else bool(traits.contrast)


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
