"""Find and outline brain tumours in MRI slices. Research use only; not a medical device.

    from tumorctl import TumorClient

    with TumorClient() as client:  # the local engine; TumorClient("triton:8001") for a server
        for result in client.predict(images):
            print(result.tumor_probability, result.has_tumor, result.area_px)

Importing this package loads neither numpy nor an inference engine: names are resolved when first used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorctl.client import TumorClient
    from tumorctl.core.measurements import Diameters, Laterality, Measurements
    from tumorctl.engines.base import BatchAnswer, Engine
    from tumorctl.errors import (
        AccessDenied,
        DamagedModel,
        DeadlineExceeded,
        EngineError,
        InsecureServer,
        InvalidInput,
        InvalidOption,
        MaskMismatch,
        MissingDicomTag,
        MissingExtra,
        MissingFlair,
        ModelError,
        NoDicomSource,
        NoSuchSeries,
        OutputError,
        OversizedInput,
        PortTaken,
        ServeError,
        ServerError,
        ServerRefused,
        ServerUnavailable,
        TumorctlError,
        UnreadableImage,
        UnreadableStudy,
        UnsupportedImage,
        UnusableArchive,
        UnusableSeries,
        WrongModality,
    )
    from tumorctl.study import StudyPrediction
    from tumorctl.types import (
        ClientOptions,
        ConnectionOptions,
        EngineInfo,
        Precision,
        RegistrationReport,
        SeriesChoice,
        SeriesRole,
        SlicePrediction,
        TlsOptions,
    )

__version__ = "0.1.0"

_HOME = {
    "tumorctl.client": ("TumorClient",),
    "tumorctl.core.measurements": ("Diameters", "Laterality", "Measurements"),
    "tumorctl.engines.base": ("BatchAnswer", "Engine"),
    "tumorctl.errors": (
        "AccessDenied",
        "DamagedModel",
        "DeadlineExceeded",
        "EngineError",
        "InsecureServer",
        "InvalidInput",
        "InvalidOption",
        "MaskMismatch",
        "MissingDicomTag",
        "MissingExtra",
        "MissingFlair",
        "ModelError",
        "NoDicomSource",
        "NoSuchSeries",
        "OutputError",
        "OversizedInput",
        "PortTaken",
        "ServeError",
        "ServerError",
        "ServerRefused",
        "ServerUnavailable",
        "TumorctlError",
        "UnreadableImage",
        "UnreadableStudy",
        "UnsupportedImage",
        "UnusableArchive",
        "UnusableSeries",
        "WrongModality",
    ),
    "tumorctl.study": ("StudyPrediction",),
    "tumorctl.types": (
        "ClientOptions",
        "ConnectionOptions",
        "EngineInfo",
        "Precision",
        "RegistrationReport",
        "SeriesChoice",
        "SeriesRole",
        "SlicePrediction",
        "TlsOptions",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AccessDenied",
    "BatchAnswer",
    "ClientOptions",
    "ConnectionOptions",
    "DamagedModel",
    "DeadlineExceeded",
    "Diameters",
    "Engine",
    "EngineError",
    "EngineInfo",
    "InsecureServer",
    "InvalidInput",
    "InvalidOption",
    "Laterality",
    "MaskMismatch",
    "Measurements",
    "MissingDicomTag",
    "MissingExtra",
    "MissingFlair",
    "ModelError",
    "NoDicomSource",
    "NoSuchSeries",
    "OutputError",
    "OversizedInput",
    "PortTaken",
    "Precision",
    "RegistrationReport",
    "SeriesChoice",
    "SeriesRole",
    "ServeError",
    "ServerError",
    "ServerRefused",
    "ServerUnavailable",
    "SlicePrediction",
    "StudyPrediction",
    "TlsOptions",
    "TumorClient",
    "TumorctlError",
    "UnreadableImage",
    "UnreadableStudy",
    "UnsupportedImage",
    "UnusableArchive",
    "UnusableSeries",
    "WrongModality",
    "__version__",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
