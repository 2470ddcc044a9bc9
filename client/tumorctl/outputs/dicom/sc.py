"""The FLAIR with the outline as a DICOM secondary capture, for viewers that show neither SEG nor SR."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np
from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameTrueColorSecondaryCaptureImageStorage

from tumorctl import __version__
from tumorctl.contract import SHORT_NOTICE
from tumorctl.errors import OutputError
from tumorctl.outputs.dicom import codes
from tumorctl.outputs.dicom.source import Source, making, result_uid, source_of
from tumorctl.outputs.pictures import directions, draw_slices

if TYPE_CHECKING:
    from tumorctl.core.measurements import Measurements
    from tumorctl.study import StudyPrediction

_DICOM_LETTER = {"S": "H", "I": "F"}
"""DICOM says head and foot where others say superior and inferior."""


def secondary_capture(prediction: StudyPrediction, measurements: Measurements) -> SOPClass:
    """The slices with an outline as one multi-frame true-colour secondary capture, marked as annotated.

    Args:
        prediction: a study with a tumour, read from DICOM.
        measurements: of its mask; the diameters are drawn where they were measured.

    Raises:
        OutputError: nothing was outlined, or the FLAIR's header does not allow it.
        NoDicomSource: the study was not read from DICOM.
        MissingDicomTag: the FLAIR lacks a required attribute.
        MaskMismatch: the mask is not on the FLAIR's slices.
    """
    source = source_of(prediction)
    if not prediction.has_tumor:
        raise OutputError("nothing was outlined in this study: there is nothing to draw")
    indices = tuple(int(index) for index in np.flatnonzero(prediction.mask.any(axis=(1, 2))))
    pictures, scale = draw_slices(prediction.flair, prediction.mask, indices, measurements.diameters)
    with making("secondary capture"):
        made = _blank_capture(prediction, source)
        _set_image(made, prediction, pictures.shape)
        made.SourceImageSequence = [_reference(source, index) for index in indices]
        made.PixelSpacing = [f"{spacing / scale:.10g}" for spacing in prediction.grid.spacing_mm[1:]]
        # Frames are told apart by where they lie along the slices' normal, in mm from the first slice.
        along = prediction.grid.affine_ras[:3, 0] / prediction.grid.spacing_mm[0]
        starts = prediction.grid.to_world_ras([(index, 0, 0) for index in indices])
        made.FrameIncrementPointer = Tag("SliceLocationVector")
        made.SliceLocationVector = [f"{place:.10g}" for place in (starts - starts[0]) @ along]
        made.PixelData = pictures.tobytes()
        made["PixelData"].VR = "OB"
        return source.complete(made)


def _blank_capture(prediction: StudyPrediction, source: Source) -> SOPClass:
    number, description = codes.SC_SERIES
    header = source.headers[0]
    return SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=result_uid(prediction, "sc series"),
        series_number=number,
        sop_instance_uid=result_uid(prediction, "sc"),
        sop_class_uid=MultiFrameTrueColorSecondaryCaptureImageStorage,
        instance_number=1,
        modality="OT",
        manufacturer=codes.NAME,
        manufacturer_model_name=codes.NAME,
        software_versions=__version__,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id="",
        patient_name="",
        patient_birth_date="",
        patient_sex="",
        accession_number="",
        study_id="",
        study_date="",
        study_time="",
        referring_physician_name="",
        series_description=description,
        specific_character_set=source.original.get("SpecificCharacterSet"),
    )


def _set_image(made: SOPClass, prediction: StudyPrediction, shape: tuple[int, ...]) -> None:
    now = datetime.datetime.now()
    made.ConversionType = "WSD"
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    made.SecondaryCaptureDeviceManufacturer = codes.NAME
    made.SecondaryCaptureDeviceSoftwareVersions = __version__
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.DerivationDescription = codes.COMMENT
    made.ImageComments = SHORT_NOTICE
    made.BurnedInAnnotation = "YES"
    made.LossyImageCompression = "00"
    made.BodyPartExamined = "BRAIN"
    made.PatientOrientation = [_DICOM_LETTER.get(letter, letter) for letter in directions(prediction.grid)]
    made.NumberOfFrames, made.Rows, made.Columns, made.SamplesPerPixel = shape
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelRepresentation = 0


def _reference(source: Source, index: int) -> Dataset:
    header, frames = source.instance(index)
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frames is not None:
        reference.ReferencedFrameNumber = frames
    return reference
