"""What goes in and comes out of the SDK: frozen results and options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tumorctl.contract import MAX_BATCH_SIZE
from tumorctl.errors import InvalidOption

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Precision(str, Enum):
    """Arithmetic of the local engine.

    Attributes:
        auto: bf16 where it is the faster one, on processors with AMX; else fp32.
        fp32: single precision.
        bf16: bfloat16 products with single-precision sums.
        int8: 8 bit convolutions, for processors without AMX: faster, and a little less exact.
    """

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


_HEADER_NAME = re.compile(r"[a-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, eq=False)
class SlicePrediction:
    """What the networks say of one slice.

    Attributes:
        tumor_probability: calibrated probability that the slice shows a tumour, in [0, 1].
        segmented: whether the slice passed the gate, so that the segmenter saw it.
        mask: bool, shape (height, width) of the slice as given, True inside the tumour; None where not segmented.
    """

    tumor_probability: float
    segmented: bool
    mask: npt.NDArray[np.bool_] | None

    @property
    def has_tumor(self) -> bool:
        """Whether the slice passed the gate and its mask is not empty."""
        return self.mask is not None and bool(self.mask.any())

    @property
    def area_px(self) -> int:
        """Pixels of tumour, in pixels of the slice as given."""
        return 0 if self.mask is None else int(self.mask.sum())


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How `TumorClient` works. None stands for the setting in the environment or profile, or else the default.

    Attributes:
        gate_threshold: probability, 0 to 1, from which a slice is segmented; by default the one that evaluation set.
        batch_size: slices in one request to the engine, 1 to 64.
        timeout_s: seconds that one batch may take, retries included.
        precision: arithmetic of the local engine; a server has its own.
        model_repository: folder with the networks for the local engine; by default the ones that came with tumorctl.
    """

    gate_threshold: float | None = None
    batch_size: int | None = None
    timeout_s: float | None = None
    precision: Precision | None = None
    model_repository: str | None = None

    def __post_init__(self) -> None:
        if self.gate_threshold is not None and not 0 <= self.gate_threshold <= 1:
            raise InvalidOption(f"gate threshold {self.gate_threshold}: must be between 0 and 1")
        if self.batch_size is not None and not 1 <= self.batch_size <= MAX_BATCH_SIZE:
            raise InvalidOption(f"batch size {self.batch_size}: must be between 1 and {MAX_BATCH_SIZE}")
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise InvalidOption(f"timeout {self.timeout_s} s: must be a positive number of seconds")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to make sure of a server, and to prove oneself to it. Files are PEM, read when the client is made.

    Attributes:
        ca_cert: authorities to trust instead of the public ones that come with gRPC.
        client_cert: own certificate with its chain, where the server asks for one (mutual TLS).
        client_key: private key of the own certificate, not encrypted.
        server_name: name that the server's certificate bears, where it is not the host of the address.
    """

    ca_cert: str | os.PathLike[str] | None = None
    client_cert: str | os.PathLike[str] | None = None
    client_key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.client_cert is None) != (self.client_key is None):
            raise InvalidOption("a client certificate and its key belong together: give both files, or neither")


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How to reach a server. None stands for the setting in the environment or profile, or else the default.

    Attributes:
        profile: which ``[profiles.NAME]`` of the profile file to take settings from.
        tls: encrypt and check the server; None also where the address says it, with ``grpcs://``.
        token: what a gateway lets one in for, for instance a bearer token; never shown.
        token_file: file with the token, read again for each request, so that it may be renewed.
        token_header: header the token travels in; ``authorization``, the default, gets it as ``Bearer TOKEN``.
        headers: further headers for each request, such as a tenant's name; no secrets.
        allow_plaintext_token: send the token without TLS to another machine; it can be read on the way.
        trace_context: send a W3C ``traceparent`` with each request; by default yes.
    """

    profile: str | None = None
    tls: TlsOptions | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | os.PathLike[str] | None = None
    token_header: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    allow_plaintext_token: bool | None = None
    trace_context: bool | None = None

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            raise InvalidOption("a token and a token file: give one of them")
        if self.token is not None:
            check_token(self.token)
        for name, value in {**(self.headers or {}), self.token_header or "authorization": "-"}.items():
            if not _HEADER_NAME.fullmatch(name) or name.endswith("-bin") or name.startswith("grpc-"):
                raise InvalidOption(f"{name!r} cannot be the name of a header: use a to z, 0 to 9, '-', '_' and '.'")
            if not _HEADER_VALUE.fullmatch(value):
                raise InvalidOption(f"the value of the header {name!r} cannot travel: use printable ASCII")
        if {"authorization", self.token_header} & set(self.headers or {}):
            raise InvalidOption("a header cannot hold what is secret: give it as the token, or as a token file")


def check_token(token: str) -> None:
    """See whether a token can travel in a header. The message does not show it.

    Raises:
        InvalidOption: it is empty or holds spaces, line ends or other characters that cannot travel.
    """
    if not _TOKEN.fullmatch(token):
        raise InvalidOption("the token is empty or holds characters that cannot travel: it must be one printable word")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which networks answer, and how: the provenance of a result.

    Attributes:
        engine: ``local`` or ``triton``.
        target: precision of the local engine, or the server's address.
        model_versions: version served of each model; empty where the server does not tell.
        model_digests: SHA-256 of each network's ONNX file; empty where the server does not tell.
        gate_threshold: the gate's own threshold; None where the server does not tell.
        mask_threshold: probability from which a pixel is tumour; None where the server does not tell.
        software: versions of what computes.
    """

    engine: str
    target: str
    model_versions: Mapping[str, str] = field(default_factory=dict)
    model_digests: Mapping[str, str] = field(default_factory=dict)
    gate_threshold: float | None = None
    mask_threshold: float | None = None
    software: Mapping[str, str] = field(default_factory=dict)


class SeriesRole(str, Enum):
    """What a series is to the networks, in the order of their channels.

    Attributes:
        t1_pre: T1-weighted, before contrast agent.
        flair: T2-weighted with the fluid's signal nulled; its grid is the mask's.
        t1_post: T1-weighted, after contrast agent.
    """

    t1_pre = "t1_pre"
    flair = "flair"
    t1_post = "t1_post"


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """Which series plays a role, and why.

    Attributes:
        role: the part it plays.
        series: a name without patient data: the file, or ``series 3 of 7``.
        reason: why this one.
        substituted: whether it is the FLAIR, in place of a series that is missing.
    """

    role: SeriesRole
    series: str
    reason: str
    substituted: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationReport:
    """How well a series fits the FLAIR before and after registration.

    Attributes:
        role: the series that moved.
        metric_before: normalised mutual information with the FLAIR by the headers alone; more is better.
        metric_after: the same after the registration; equal to `metric_before` where it was not applied.
        applied: whether the registration was kept.
        shift_mm: how far the middle of the head moved, in mm; 0 where not applied.
        rotation_deg: by how much it turned, in degrees; 0 where not applied.
        note: what was decided, and why.
    """

    role: SeriesRole
    metric_before: float
    metric_after: float
    applied: bool
    shift_mm: float
    rotation_deg: float
    note: str
