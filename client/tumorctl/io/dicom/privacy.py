"""What a header holds of the patient, and whether a name of a file or folder tells it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

from pydicom import Dataset

_PEOPLE: Final = frozenset(
    {
        "PatientName",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientMotherBirthName",
        "ReferringPhysicianName",
        "RequestingPhysician",
        "PerformingPhysicianName",
        "NameOfPhysiciansReadingStudy",
        "PhysiciansOfRecord",
        "OperatorsName",
        "ResponsiblePerson",
    }
)
"""Names of people: each part of them is private."""
_DATES: Final = frozenset(
    {"PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AdmittingDate"}
)
_OTHERS: Final = frozenset(
    {
        "PatientID",
        "OtherPatientIDs",
        "AccessionNumber",
        "AdmissionID",
        "StudyID",
        "RequestedProcedureID",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "StationName",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    }
)
_FURTHER_IDS: Final = "OtherPatientIDsSequence"
NAMING: Final = (*sorted(_PEOPLE | _DATES | _OTHERS), _FURTHER_IDS)
"""What must not stand in a name that is shown."""

_SHORTEST_PART: Final = 3
_SHORTEST_WORD: Final = 2
"""Shorter secrets than three letters are looked for only as words of their own: nearly any name holds two letters."""

_DATE: Final = re.compile(r"(\d\d(\d\d))(\d\d)(\d\d)")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORDS: Final = re.compile(r"[^\W\d_]+|\d+")
_BETWEEN_NAMES: Final = re.compile(r"[\W_]+")
_PLAIN_LETTERS: Final = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)
_TRANSLITERATED: Final = re.compile("(a)[ae]|([ou])e")


def secrets_in(header: Dataset) -> frozenset[str]:
    """What a shown name must not contain: parts of names, numbers, dates and UIDs, plain.

    Not the instance's own UID: without it most files of a study share one set, and there may be very many files.
    """
    return _secrets_of(frozenset((keyword, value) for keyword in NAMING for value in _values(header, keyword)))


@lru_cache(maxsize=256)
def _secrets_of(told: frozenset[tuple[str, str]]) -> frozenset[str]:
    found: set[str] = set()
    for keyword, value in told:
        if keyword in _PEOPLE:
            found |= {value, *_BETWEEN_NAMES.split(value)}
        elif keyword in _DATES:
            found |= {value, *_dates(value)}
        else:
            found |= {value, value.lstrip("0")}
    return frozenset(form for value in found for form in _forms(value) if len(form) >= _SHORTEST_WORD)


def may_show(name: str, secrets: Iterable[str]) -> bool:
    """Whether a file's or folder's name holds nothing of the patient's."""
    forms = _forms(name)
    words = {form for word in (*_WORDS.findall(_spelled(name)), *_BETWEEN_NAMES.split(name)) for form in _forms(word)}
    return name.isprintable() and not any(
        secret in words if len(secret) < _SHORTEST_PART else any(secret in form for form in forms) for secret in secrets
    )


def plain(text: str) -> str:
    """Letters and digits alone, small and without accents: what is left of a name however it is written."""
    return "".join(letter for letter in _spelled(text) if letter.isalnum())


def _spelled(text: str) -> str:
    """Small letters without accents."""
    parts = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in parts if not unicodedata.combining(letter)).translate(_PLAIN_LETTERS)


def _forms(text: str) -> set[str]:
    """A text in plain letters, and with two letters that stand for an umlaut as that umlaut's one: Mueller, Muller."""
    whole = plain(text)
    return {whole, _TRANSLITERATED.sub(r"\1\2", whole)}


def _values(header: Dataset, keyword: str) -> Iterator[str]:
    try:
        value = header.get(keyword)
        if keyword == _FURTHER_IDS:
            value = [item.get("PatientID") for item in value or ()]
    # Converting an odd value may fail in any way; what stands there is private all the same.
    except Exception:
        raw = getattr(header.get_item(keyword), "value", None)
        value = raw.decode("latin-1").split("\\") if isinstance(raw, bytes) else None
    # A person's name can be iterated too.
    for each in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
        text = str(each or "")
        yield text
        # UTF-8 in a header that says it is something else: file names have it right.
        with suppress(UnicodeError):
            yield text.encode("latin-1").decode()


def _dates(value: str) -> Iterator[str]:
    """A date as people write it, without what stands between its parts."""
    found = _DATE.match(plain(value))
    if found:
        year, short, month, day = found.groups()
        for first, second in ((day, month), (month, day)):
            yield from (first + second + year, first + second + short, f"{int(first)}{int(second)}{year}")
        yield short + month + day
        if 1 <= int(month) <= len(_MONTHS):
            name = _MONTHS[int(month) - 1]
            yield from (name + year, name + day + year)
