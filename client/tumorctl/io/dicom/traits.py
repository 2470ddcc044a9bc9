"""What a stack's header tells of its role."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from tumorctl.io.dicom.slices import Slice, number
from tumorctl.io.dicom.stacks import Stack
from tumorctl.io.series import Plane, SeriesTraits

_TEXTS: Final = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_MOMENT: Final = re.compile(r"\d{14}(?:\.\d+)?")
_NO_AGENT: Final = frozenset({"", "no", "none", "n", "na", "n/a", "nil", "without", "ohne", "no contrast", "0"})


def traits_of(stack: Stack) -> SeriesTraits:
    """What the header of the first slice tells, classic or multi-frame."""
    first = stack.slices[0]
    spacing_mm = stack.spacing_mm
    return SeriesTraits(
        contrast=_contrast(first),
        echo_time_ms=number(first.find("EffectiveEchoTime", "MREchoSequence") or first.find("EchoTime")),
        repetition_time_ms=number(first.find("RepetitionTime", "MRTimingAndRelatedParametersSequence")),
        inversion_time_ms=number(first.find("InversionTimes", "MRModifierSequence") or first.find("InversionTime"))
        or None,
        text=_text(first),
        scanning=_codes(first.find("ScanningSequence")),
        image_type=_codes(first.find("FrameType", "MRImageFrameTypeSequence") or first.find("ImageType")),
        diffusion=(number(first.find("DiffusionBValue", "MRDiffusionSequence")) or 0) > 0,
        plane=_plane(stack),
        slices=len(stack.slices),
        slice_spacing_mm=spacing_mm if spacing_mm else None,
        acquired=_acquired(first),
    )


def _contrast(first: Slice) -> bool | None:
    if first.has_group("ContrastBolusUsageSequence"):
        return True
    for keyword in ("ContrastBolusAgent", "ContrastBolusAgentSequence"):
        value = first.find(keyword)
        if value is None:
            continue
        if not isinstance(value, str):
            return bool(len(value))
        if value.strip().lower() not in _NO_AGENT:
            return True
    return None


def _acquired(first: Slice) -> str:
    whole = first.find("FrameAcquisitionDateTime", "FrameContentSequence") or first.find("AcquisitionDateTime")
    if not whole:
        date = first.find("AcquisitionDate") or first.find("SeriesDate")
        time = first.find("AcquisitionTime") or first.find("SeriesTime")
        whole = f"{date}{time}" if date and time else ""
    found = _MOMENT.match(str(whole).replace(":", ""))
    return found.group() if found else ""


def _text(first: Slice) -> str:
    values = [first.find(keyword) for keyword in _TEXTS]
    # A multi-frame object names its contrast in a code: FLUID_ATTENUATED, T1, DIFFUSION ...
    values.append(first.find("AcquisitionContrast", "MRImageFrameTypeSequence"))
    return " ".join(str(value) for value in values if value).lower()


def _codes(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    codes = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    return tuple(str(code).strip().upper() for code in codes)


def _plane(stack: Stack) -> Plane | None:
    normal = stack.normal
    if normal is None:
        return None
    return (Plane.sagittal, Plane.coronal, Plane.axial)[int(np.abs(normal).argmax())]
