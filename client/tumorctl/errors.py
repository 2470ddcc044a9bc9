"""The error tree: everything tumorctl raises on purpose is a `TumorctlError`.

    TumorctlError
    ├── InvalidInput            an image, file or argument that cannot be used
    │   ├── UnreadableImage     a file that is damaged, empty or not an image
    │   ├── UnsupportedImage    a sound image of a kind the networks were not made for
    │   ├── InvalidOption       an option outside its range
    │   ├── NoDicomSource       DICOM results asked of a study that was not read from DICOM
    │   ├── MissingDicomTag     a DICOM instance lacks what its results need
    │   ├── MaskMismatch        a mask that is not on its image's voxels
    │   ├── LeakedPatients      patients would judge networks that they trained
    │   ├── MismatchedFigures   figures that are not of the networks or patients they are to describe
    │   ├── UnreadableStudy     a study with a damaged file, of two patients, or without anything that can be read
    │   │   └── WrongModality   a study without MR images
    │   ├── UnusableSeries      a series whose slices do not make one volume
    │   ├── MissingFlair        a study in which no series is a FLAIR
    │   ├── NoSuchSeries        a series was named that the study does not have, or has more than once
    │   ├── OversizedInput      more voxels, bytes or files than are taken in
    │   └── UnusableArchive     a zip file that is damaged, encrypted or not safe to unpack
    ├── MissingExtra            an optional dependency is not installed
    ├── ModelError              the networks cannot be used
    │   └── DamagedModel        a file does not match its digest
    ├── OutputError             a result could not be written
    ├── EngineError             inference failed
    │   ├── DeadlineExceeded    it took longer than the caller allowed
    │   └── ServerError         the server's side of it
    │       ├── ServerUnavailable
    │       ├── InsecureServer          TLS failed: certificates or settings do not fit
    │       └── ServerRefused
    │           └── AccessDenied        the token or certificate shown does not open the door
    └── ServeError              a managed server could not be started
        └── PortTaken

Messages never carry patient data: no file contents, no pixel values. A message may name the file or folder that the
caller named.
"""

from __future__ import annotations


class TumorctlError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        exit_code: status the command line ends with.
        retryable: whether the same call may succeed later, unchanged.
        request_id: the id of the request that failed, as the server's log shows it; None where there was none.
    """

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class InvalidInput(TumorctlError):
    """An image, file or argument that cannot be used."""

    exit_code = 2


class UnreadableImage(InvalidInput):
    """A file that is damaged, empty or not an image."""


class UnsupportedImage(InvalidInput):
    """A sound image of a kind the networks were not made for: 16 bits, four channels, too small, too large."""


class InvalidOption(InvalidInput):
    """An option or argument outside its range."""


class NoDicomSource(InvalidInput):
    """DICOM results were asked of a study that was not read from DICOM."""


class MissingDicomTag(InvalidInput):
    """A DICOM instance lacks an attribute that results made from it need."""


class MaskMismatch(InvalidInput):
    """A mask that does not lie on the voxels of its image."""


class LeakedPatients(InvalidInput):
    """Patients would judge networks that they trained, or may have trained."""


class MismatchedFigures(InvalidInput):
    """Figures are not of the networks, or not of the patients, that they are to describe."""


class UnreadableStudy(InvalidInput):
    """A study with a file that is damaged, cut off or cannot be decoded, without anything that can be read, or mixed.

    Mixed is one whose series are of different patients.
    """


class WrongModality(UnreadableStudy):
    """A study that holds images, but no MR images."""


class UnusableSeries(InvalidInput):
    """A series whose slices do not make one volume: one is missing or doubled, they lie askew, all is blank."""


class MissingFlair(InvalidInput):
    """A study in which no series is a FLAIR: there is nothing to outline a tumour on."""


class NoSuchSeries(InvalidInput):
    """The name given for a series fits none of the study, or more than one."""


class OversizedInput(InvalidInput):
    """More voxels, bytes or files than are taken in, which is how a decompression bomb looks."""


class UnusableArchive(InvalidInput):
    """A zip file that is damaged, encrypted or not safe to unpack."""


class MissingExtra(TumorctlError):
    """An optional dependency is not installed.

    Attributes:
        extra: name of the extra that brings it.
    """

    exit_code = 2

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an optional part that is not installed: pip install 'tumorctl[{extra}]'")
        self.extra = extra


class ModelError(TumorctlError):
    """The networks cannot be found, read or run."""


class DamagedModel(ModelError):
    """A model file does not match the digest in the manifest."""


class OutputError(TumorctlError):
    """A result could not be written."""


class EngineError(TumorctlError):
    """Inference failed."""

    exit_code = 4


class DeadlineExceeded(EngineError):
    """Inference took longer than the caller allowed."""


class ServerError(EngineError):
    """The server answered with an error."""


class ServerUnavailable(ServerError):
    """The server cannot be reached, or is not ready."""

    retryable = True


class ServerRefused(ServerError):
    """The server was reached and refused the request."""


class AccessDenied(ServerRefused):
    """The server, or a gateway in front of it, wants another token or another certificate."""


class InsecureServer(ServerError):
    """No secure connection could be made: the certificates or the TLS settings of the two sides do not fit."""


class ServeError(TumorctlError):
    """A managed server could not be started or ended by itself."""


class PortTaken(ServeError):
    """Another process listens on a port that the server was to use."""
