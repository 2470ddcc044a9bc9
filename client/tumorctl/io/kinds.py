"""What a series is: FLAIR, T1 before or after contrast agent, or something else, and why.

A header says it in words that people type and in times that physics dictates. Either may be missing: each is weighed,
and what counted is kept as the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tumorctl.io.series import SeriesTraits


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


def after_contrast(traits: SeriesTraits) -> bool:
    """Whether words, or else the header, tell of a contrast agent, whatever the series is."""
    said = _agent_word(_words(traits.text))
    return said[0] if said else bool(traits.contrast)


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
