"""The FLAIR's instances as the source of derived objects: checked, and named after in the objects' UIDs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt
from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.uid import generate_uid

from tumorctl import __version__
from tumorctl.core.geometry import SAME_DIRECTION, Grid, place_tolerance_mm, points_lps_of_ras
from tumorctl.errors import MaskMismatch, MissingDicomTag, NoDicomSource, OutputError
from tumorctl.io.dicom.quiet import quietly

if TYPE_CHECKING:
    from tumorctl.study import StudyPrediction

Made = TypeVar("Made", bound=SOPClass)

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_IDENTIFYING: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_SAME_FOR_ALL: Final = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_PLANE: Final = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}
"""What says where a slice lies, and the functional group that says it in a multi-frame object."""
_LENGTH: Final = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


@dataclass(frozen=True, slots=True)
class Source:
    """The FLAIR's series, ready to be referred to.

    Attributes:
        headers: one per instance, in the order of the mask's slices, without pixels; a multi-frame one has the frames
            of the mask's slices alone, in their order. Identifying attributes are blank, so that an odd value in one of
            them cannot keep an object from being made.
        original: the first instance as it was read.
        frames: for each of the mask's slices its frame number, from 1, in a multi-frame instance; empty otherwise.
    """

    headers: tuple[Dataset, ...]
    original: Dataset
    frames: tuple[int, ...]

    def instance(self, index: int) -> tuple[Dataset, list[int] | None]:
        """The instance that holds a slice of the mask, and its frame number there."""
        return (self.headers[0], [self.frames[index]]) if self.frames else (self.headers[index], None)

    def complete(self, made: Made) -> Made:
        """Copy the patient's and the study's data, unchanged, into an object made from the blank headers."""
        made.copy_patient_and_study_information(self.original)
        return made


def source_of(prediction: StudyPrediction) -> Source:
    """The FLAIR's instances.

    Raises:
        NoDicomSource: the study was not read from DICOM.
        MissingDicomTag: an instance lacks what derived objects need.
        MaskMismatch: the mask's slices are not where the instances are.
    """
    instances, frames = prediction.flair_instances, prediction.flair_frames
    if not instances:
        raise NoDicomSource("the study was not read from DICOM, so there is nothing that DICOM results could refer to")
    for instance in instances:
        for keyword in (*_UIDS, "Rows", "Columns"):
            if not instance.get(keyword):
                raise MissingDicomTag(f"the FLAIR has an instance without {keyword}: DICOM results need it")
    for keyword in _SAME_FOR_ALL:
        if len({str(instance.get(keyword)) for instance in instances}) > 1:
            raise MaskMismatch(f"the FLAIR's instances differ in {keyword}: they are not one series")
    if len({str(instance.SOPInstanceUID) for instance in instances}) < len(instances):
        raise MissingDicomTag(
            "the FLAIR has instances without a SOPInstanceUID of their own: DICOM results could not refer to them"
        )
    expected = (len(frames) or len(instances), int(instances[0].Rows), int(instances[0].Columns))
    if prediction.mask.shape != expected or prediction.grid.shape != expected:
        raise MaskMismatch(f"a mask of shape {prediction.mask.shape} for a FLAIR of shape {expected}")
    corners = [(0, 0), (0, expected[2] - 1), (expected[1] - 1, 0)]
    indices = [[(index, row, column) for row, column in corners] for index in range(expected[0])]
    wanted = points_lps_of_ras(prediction.grid.to_world_ras(indices))
    off_mm = np.linalg.norm(_places_lps(instances, frames, corners) - wanted, axis=-1)
    if (off_mm > _tolerances_mm(prediction.grid, corners)).any():
        raise MaskMismatch("the mask's slices do not lie where the FLAIR's instances are")
    return Source(
        headers=_of_the_mask([_blank(instance) for instance in instances], frames),
        original=instances[0],
        frames=tuple(frame + 1 for frame in frames),
    )


def result_uid(prediction: StudyPrediction, *what: str) -> str:
    """A UID for a part of the results: the same for the same input, networks, settings and answer, else another.

    The answer itself is in it, so that a receiver that keeps the old object under a known UID can never keep a
    different outline, not even where a server does not tell which networks it runs.

    Args:
        prediction: the study's result.
        what: names the part.
    """
    settings = json.dumps([__version__, *algorithm_parameters(prediction).items()])
    answer = hashlib.sha256(np.packbits(prediction.mask).tobytes())
    answer.update(f"{prediction.mask.shape} {prediction.tumor_probability:.6f} {prediction.warnings}".encode())
    instances = sorted(str(instance.SOPInstanceUID) for instance in prediction.flair_instances)
    return str(generate_uid(entropy_srcs=[*what, *instances, settings, answer.hexdigest()]))


def device_uid(prediction: StudyPrediction) -> str:
    """A UID for this version of the software with these networks and settings, whatever the study."""
    return str(generate_uid(entropy_srcs=[__version__, json.dumps(list(algorithm_parameters(prediction).items()))]))


def algorithm_parameters(prediction: StudyPrediction) -> dict[str, str]:
    """What the networks were run with: thresholds, arithmetic and digests, as far as they are known."""
    engine = prediction.engine
    known = {
        "gate_threshold": prediction.gate_threshold,
        "mask_threshold": engine.mask_threshold,
        "engine": f"{engine.engine} {engine.target}" if engine.engine == "local" else engine.engine,
        **{f"{model}_version": version for model, version in sorted(engine.model_versions.items())},
        **{f"{model}_sha256": digest for model, digest in sorted(engine.model_digests.items())},
    }
    return {name: str(value) for name, value in known.items() if value is not None}


@contextmanager
def making(what: str) -> Iterator[None]:
    """Turn what a library says of an odd header into an error of ours, which does not repeat the header's values.

    Raises:
        OutputError: the object could not be made.
    """
    try:
        with quietly():
            yield
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise OutputError(
            f"no {what} can be made for this FLAIR: its header has something unexpected ({type(error).__name__})"
        ) from error


def _tolerances_mm(grid: Grid, pixels: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """How far pixels (row, column) may lie from the even grid: what the reader of DICOM lets pass, and no more.

    Returns:
        float64, shape (pixel,), in mm.
    """
    spacing_mm, *pixel_mm = grid.spacing_mm
    from_corner_mm = np.linalg.norm(np.asarray(pixels) * pixel_mm, axis=-1)
    # Three cosines may be off.
    return np.asarray(place_tolerance_mm(spacing_mm) + np.sqrt(3) * SAME_DIRECTION * from_corner_mm)


def _places_lps(
    instances: tuple[Dataset, ...], frames: tuple[int, ...], pixels: list[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """Where pixels (row, column) of each slice lie by the instances' own word.

    Returns:
        LPS mm, float64, shape (slice, pixel, 3).
    """
    planes = [_Plane.of_frame(instances[0], frame) for frame in frames] or [_Plane.of(each) for each in instances]
    return np.stack([plane.places(pixels) for plane in planes])


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where a slice lies, as DICOM says it: LPS mm."""

    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    spacing_mm: npt.NDArray[np.float64]

    @classmethod
    def of(cls, instance: Dataset) -> _Plane:
        return cls(*(_numbers(instance, keyword) for keyword in _PLANE))

    @classmethod
    def of_frame(cls, instance: Dataset, frame: int) -> _Plane:
        try:
            groups = (instance.PerFrameFunctionalGroupsSequence[frame], instance.SharedFunctionalGroupsSequence[0])
        except (AttributeError, IndexError) as error:
            raise MissingDicomTag("the FLAIR is a multi-frame object without its frames' places") from error
        found = []
        for keyword, sequence in _PLANE.items():
            # What holds for all frames stands in the shared group, the rest in the frame's own.
            macro = next((group[sequence].value[0] for group in groups if group.get(sequence)), Dataset())
            found.append(_numbers(macro, keyword))
        return cls(*found)

    def places(self, pixels: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
        steps = self.orientation.reshape(2, 3)[::-1] * self.spacing_mm[:, np.newaxis]
        return np.asarray(self.position + np.asarray(pixels) @ steps)


def _numbers(dataset: Dataset, keyword: str) -> npt.NDArray[np.float64]:
    try:
        return np.array(dataset[keyword].value, np.float64).reshape(_LENGTH[keyword])
    except (KeyError, TypeError, ValueError) as error:
        raise MissingDicomTag(f"the FLAIR has a slice without {keyword}: DICOM results need it") from error


def _of_the_mask(headers: list[Dataset], frames: tuple[int, ...]) -> tuple[Dataset, ...]:
    """Headers of the mask's slices that say of directions what the first one says; positions stay each slice's own.

    The library that makes segmentations wants them equal to the last digit, and in a multi-frame object in the shared
    groups, where not every scanner writes them. It also wants no two frames in one place, as echoes and points in time
    are, so the frames that the mask is not on are left out.
    """
    first = headers[0]
    if not frames:
        for header in headers:
            # The element is shared with the instance, so it is replaced, not changed.
            header.add(first["ImageOrientationPatient"])
        return tuple(headers)
    groups = [first.PerFrameFunctionalGroupsSequence[frame] for frame in frames]
    # A copy: the library adds to it.
    shared = deepcopy(first.SharedFunctionalGroupsSequence[0])
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        # The frame's own comes first: frames that are not used may lie otherwise.
        if groups[0].get(name):
            shared.add(deepcopy(groups[0][name]))
    for keyword, value in (
        ("SharedFunctionalGroupsSequence", [shared]),
        ("PerFrameFunctionalGroupsSequence", groups),
        ("NumberOfFrames", len(groups)),
    ):
        # Elements are shared with the instance, so they are replaced, not changed.
        delattr(first, keyword)
        setattr(first, keyword, value)
    return tuple(headers)


def _blank(instance: Dataset) -> Dataset:
    header = Dataset()
    for element in instance:
        # Elements are shared with the instance, so they are left out rather than emptied.
        if element.keyword not in _PIXELS and element.keyword not in _IDENTIFYING:
            header.add(element)
    for keyword in _IDENTIFYING:
        setattr(header, keyword, "")
    return header
