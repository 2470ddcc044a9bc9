"""A made-up head with one lesion at known millimetres, as a scanner in any plane would see it.

Positions are DICOM's: LPS mm, so a positive x is the patient's left. Patients and studies are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from tumorctl.core.geometry import Grid, ras_of_lps

Vector = tuple[float, float, float]


class Plane(Enum):
    """Acquisition plane: directions (LPS) in which the column index and the row index grow."""

    axial = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    coronal = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    sagittal = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


class Sequence(Enum):
    """A series of the study: its number, name, echo, repetition and inversion time in ms, and grey levels.

    Grey levels are those of skull, brain, ventricles, lesion and the lesion's rim.
    """

    t1_pre = (2, "AX T1 PRE", 10.0, 600.0, None, (300, 600, 250, 420, 420))
    flair = (3, "AX FLAIR", 120.0, 9000.0, 2500.0, (200, 450, 120, 950, 950))
    t1_post = (4, "AX T1 POST GAD", 10.0, 600.0, None, (300, 600, 250, 420, 1000))


_EMPTY, _SKULL, _BRAIN, _VENTRICLE, _LESION, _RIM = range(6)
_HEAD_RADII_MM = (72.0, 90.0, 78.0)
_SKULL_MM = 7.0
_RIM_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Phantom:
    """The head, and how it was scanned.

    Attributes:
        plane: acquisition plane before tilting.
        tilt_deg: rotation of the acquisition about the patient's x, y and z axes, in this order, in degrees.
        against_normal: whether slices are counted against the normal of the image plane.
        shape: (slice, row, column).
        spacing_mm: between centres along (slice, row, column).
        field_center_lps: middle of the field of view.
        head_center_lps: middle of the head; the plane of symmetry passes through it.
        lesion_center_lps: middle of the lesion.
        lesion_radii_mm: of the ellipsoid along x, y and z; zeros for a head without lesion.
        patient: tells patients apart: part of names and UIDs.
    """

    plane: Plane = Plane.axial
    tilt_deg: Vector = (0.0, 0.0, 0.0)
    against_normal: bool = False
    shape: tuple[int, int, int] = (36, 64, 72)
    spacing_mm: Vector = (5.0, 3.6, 3.2)
    field_center_lps: Vector = (6.0, -4.0, 12.0)
    head_center_lps: Vector = (2.0, -9.0, 15.0)
    lesion_center_lps: Vector = (36.0, -14.0, 27.0)
    lesion_radii_mm: Vector = (15.0, 21.0, 17.0)
    patient: str = "1"

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        column_direction, row_direction = (self._rotation @ np.array(each) for each in self.plane.value)
        normal = np.cross(column_direction, row_direction) * (-1 if self.against_normal else 1)
        affine_lps = np.eye(4)
        affine_lps[:3, :3] = np.stack([normal, row_direction, column_direction], axis=1) * self.spacing_mm
        middle = (np.asarray(self.shape) - 1) / 2
        affine_lps[:3, 3] = np.asarray(self.field_center_lps) - affine_lps[:3, :3] @ middle
        return Grid(self.shape, ras_of_lps(affine_lps))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The lesion, bool, shape (slice, row, column)."""
        return np.asarray(self._tissue() >= _LESION)

    def voxels(self, sequence: Sequence) -> npt.NDArray[np.uint16]:
        """What the scanner measures, uint16, shape (slice, row, column)."""
        levels = np.array((0, *sequence.value[-1]))
        noise = np.random.default_rng(sequence.value[0]).normal(0, 8, self.shape)
        return np.asarray(np.clip(levels[self._tissue()] + noise, 0, 4095), np.uint16)

    def instances(self, sequence: Sequence) -> list[Dataset]:
        """The series as DICOM instances, in the order of the grid's slices."""
        grid, voxels = self.grid, self.voxels(sequence)
        return [self._instance(sequence, grid, number, pixels) for number, pixels in enumerate(voxels)]

    def write(self, folder: Path, *, sequences: tuple[Sequence, ...] = tuple(Sequence), seed: int = 0) -> Path:
        """Write the study as DICOM files whose names say nothing, shuffled over all series; returns the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        instances = [instance for sequence in sequences for instance in self.instances(sequence)]
        for place, number in enumerate(np.random.default_rng(seed).permutation(len(instances))):
            instances[number].save_as(folder / f"IM{place:04d}", enforce_file_format=True)
        return folder

    def multi_frame(self, sequence: Sequence, *, seed: int = 0) -> Dataset:
        """The series as one Enhanced MR object, its frames shuffled; values are to be doubled and raised by 10."""
        classic = self.instances(sequence)
        _, _, echo_ms, repetition_ms, inversion_ms, _ = sequence.value
        shared, frames = Dataset(), []
        shared.PlaneOrientationSequence = [_item(classic[0], "ImageOrientationPatient")]
        shared.PixelMeasuresSequence = [_item(classic[0], "PixelSpacing", "SliceThickness")]
        shared.MREchoSequence = [_made(EffectiveEchoTime=echo_ms)]
        shared.MRTimingAndRelatedParametersSequence = [_made(RepetitionTime=repetition_ms)]
        shared.MRImageFrameTypeSequence = [_made(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"])]
        if inversion_ms is not None:
            shared.MRModifierSequence = [_made(InversionTimes=[inversion_ms])]
        if sequence is Sequence.t1_post:
            shared.ContrastBolusUsageSequence = [_made(ContrastBolusAgentNumber=1)]
        for number in np.random.default_rng(seed).permutation(len(classic)):
            frame = Dataset()
            frame.PlanePositionSequence = [_item(classic[number], "ImagePositionPatient")]
            scale = _made(RescaleIntercept="10", RescaleSlope="2", RescaleType="US")
            frame.PixelValueTransformationSequence = [scale]
            frames.append((frame, classic[number].PixelData))
        enhanced = classic[0]
        for keyword in (
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "EchoTime"),
            *("RepetitionTime", "InversionTime", "ScanningSequence", "ContrastBolusAgent"),
        ):
            if keyword in enhanced:
                delattr(enhanced, keyword)
        enhanced.SOPClassUID = EnhancedMRImageStorage
        enhanced.SOPInstanceUID = _uid(repr(self), sequence.name, "multi-frame")
        enhanced.NumberOfFrames = len(frames)
        enhanced.SharedFunctionalGroupsSequence = [shared]
        enhanced.PerFrameFunctionalGroupsSequence = [frame for frame, _ in frames]
        enhanced.PixelData = b"".join(pixels for _, pixels in frames)
        enhanced["PixelData"].VR = "OW"
        return enhanced

    @property
    def _rotation(self) -> npt.NDArray[np.float64]:
        rotation = np.eye(3)
        for axis, angle in enumerate(np.radians(self.tilt_deg)):
            turn = np.eye(3)
            first, second = (axis + 1) % 3, (axis + 2) % 3
            turn[first, first] = turn[second, second] = np.cos(angle)
            turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
            rotation = turn @ rotation
        return rotation

    def _tissue(self) -> npt.NDArray[np.intp]:
        indices = np.moveaxis(np.indices(self.shape), 0, -1)
        lps = self.grid.to_world_ras(indices) * (-1.0, -1.0, 1.0)
        head = lps - self.head_center_lps
        tissue = np.full(self.shape, _EMPTY, np.intp)
        tissue[_inside(head, _HEAD_RADII_MM)] = _SKULL
        tissue[_inside(head, tuple(radius - _SKULL_MM for radius in _HEAD_RADII_MM))] = _BRAIN
        for side in (-1.0, 1.0):
            tissue[_inside(head - (side * 11, 4.0, 6.0), (6.0, 26.0, 11.0))] = _VENTRICLE
        if min(self.lesion_radii_mm) > 0:
            lesion = lps - self.lesion_center_lps
            tissue[_inside(lesion, self.lesion_radii_mm)] = _RIM
            tissue[_inside(lesion, tuple(radius * _RIM_SHARE for radius in self.lesion_radii_mm))] = _LESION
        return tissue

    def _instance(self, sequence: Sequence, grid: Grid, number: int, pixels: npt.NDArray[np.uint16]) -> Dataset:
        series_number, description, echo_ms, repetition_ms, inversion_ms, _ = sequence.value
        affine = grid.affine_lps
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        # The phantom's whole description: another phantom gets other UIDs.
        entropy = [repr(self)]
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = _uid(*entropy, sequence.name, str(number))
        dataset.StudyDate, dataset.StudyTime = "20240229", "101112"
        dataset.SeriesDate, dataset.SeriesTime = "20240229", f"1015{series_number:02d}"
        dataset.ContentDate, dataset.ContentTime = "20240229", f"1016{series_number:02d}"
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20240229", f"1015{series_number:02d}"
        dataset.AccessionNumber = f"ACC{self.patient}"
        dataset.Modality = "MR"
        dataset.Manufacturer = "Phantom Works"
        dataset.ManufacturerModelName = "Made-up 1.5T"
        dataset.DeviceSerialNumber = "0001"
        dataset.SoftwareVersions = "1"
        dataset.InstitutionName = "Test Hospital"
        dataset.ReferringPhysicianName = "Referrer^Test"
        dataset.StudyDescription = "MR BRAIN"
        dataset.SeriesDescription = description
        dataset.PatientName = f"Phäntom^Test{self.patient}"
        dataset.PatientID = f"PHANTOM-{self.patient}"
        dataset.PatientBirthDate = "19700101"
        dataset.PatientSex = "O"
        dataset.PatientAge = "054Y"
        dataset.PatientWeight = "70"
        dataset.BodyPartExamined = "BRAIN"
        dataset.ScanningSequence = "SE" if inversion_ms is None else ["SE", "IR"]
        dataset.SequenceVariant = "NONE"
        dataset.ScanOptions = ""
        dataset.MRAcquisitionType = "2D"
        dataset.SliceThickness = f"{grid.spacing_mm[0]:g}"
        dataset.SpacingBetweenSlices = f"{grid.spacing_mm[0]:g}"
        dataset.RepetitionTime, dataset.EchoTime = f"{repetition_ms:g}", f"{echo_ms:g}"
        dataset.EchoTrainLength = "1"
        if inversion_ms is not None:
            dataset.InversionTime = f"{inversion_ms:g}"
        if sequence is Sequence.t1_post:
            dataset.ContrastBolusAgent = "Gadolinium"
        dataset.MagneticFieldStrength = "1.5"
        dataset.PatientPosition = "HFS"
        dataset.StudyInstanceUID = _uid(*entropy)
        dataset.SeriesInstanceUID = _uid(*entropy, sequence.name)
        dataset.StudyID = self.patient
        dataset.SeriesNumber = series_number
        dataset.InstanceNumber = number + 1
        dataset.FrameOfReferenceUID = _uid(*entropy, "frame of reference")
        dataset.PositionReferenceIndicator = ""
        dataset.ImageOrientationPatient = [f"{x:.10f}" for x in (*directions[:, 2], *directions[:, 1])]
        dataset.ImagePositionPatient = [f"{x:.8f}" for x in (affine @ (number, 0, 0, 1))[:3]]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [f"{grid.spacing_mm[1]:g}", f"{grid.spacing_mm[2]:g}"]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.WindowCenter, dataset.WindowWidth = "500", "1000"
        dataset.PixelData = pixels.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        return dataset


def _inside(points: npt.NDArray[np.float64], radii: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.square(points / np.asarray(radii)).sum(axis=-1) <= 1)


def _item(source: Dataset, *keywords: str) -> Dataset:
    return _made(**{keyword: source[keyword].value for keyword in keywords})


def _made(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _uid(*entropy: str) -> str:
    return str(generate_uid(entropy_srcs=list(entropy)))
