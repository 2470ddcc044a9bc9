"""The outline as a DICOM Segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription

from tumorctl import __version__
from tumorctl.contract import SHORT_NOTICE
from tumorctl.errors import OutputError
from tumorctl.outputs.dicom import codes
from tumorctl.outputs.dicom.source import Source, algorithm_parameters, making, result_uid, source_of

if TYPE_CHECKING:
    from tumorctl.study import StudyPrediction

_RED = CIELabColor(62.0, 66.0, 48.0)


def segmentation(prediction: StudyPrediction) -> highdicom.seg.Segmentation:
    """The outline as a binary Segmentation of one segment, on the FLAIR's own slices and referring to them.

    Args:
        prediction: a study with a tumour, read from DICOM.

    Raises:
        OutputError: nothing was outlined, or the FLAIR's header does not allow it.
        NoDicomSource: the study was not read from DICOM.
        MissingDicomTag: the FLAIR lacks a required attribute.
        MaskMismatch: the mask is not on the FLAIR's slices.
    """
    source = source_of(prediction)
    if not prediction.has_tumor:
        raise OutputError("nothing was outlined in this study: a segmentation without a segment is not allowed")
    pixels = prediction.mask.astype(np.uint8)
    number, description = codes.SEG_SERIES
    with making("DICOM SEG"):
        segment = SegmentDescription(
            segment_number=1,
            segment_label=codes.SEGMENT_LABEL,
            segmented_property_category=codes.ABNORMAL_STRUCTURE,
            segmented_property_type=codes.NEOPLASM,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name=codes.NAME,
                family=codes.ARTIFICIAL_INTELLIGENCE,
                version=__version__,
                source=codes.NAME,
                parameters=algorithm_parameters(prediction),
            ),
            tracking_uid=result_uid(prediction, "tumour"),
            tracking_id=codes.TRACKING_ID,
            anatomic_regions=[codes.BRAIN],
            display_color=_RED,
        )
        segment.SegmentDescription = codes.COMMENT
        made = highdicom.seg.Segmentation(
            source_images=source.headers,
            pixel_array=pixels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            series_instance_uid=result_uid(prediction, "seg series"),
            series_number=number,
            sop_instance_uid=result_uid(prediction, "seg"),
            instance_number=1,
            manufacturer=codes.NAME,
            manufacturer_model_name=codes.NAME,
            software_versions=__version__,
            device_serial_number="0",
            content_label="TUMOUR",
            content_description=SHORT_NOTICE,
            series_description=description,
            omit_empty_frames=True,
        )
        _refer_to_frames(made, source)
        return source.complete(made)


def _refer_to_frames(made: highdicom.seg.Segmentation, source: Source) -> None:
    """Name a multi-frame instance's frames by their numbers there: the library saw none but the mask's."""
    for group in made.PerFrameFunctionalGroupsSequence if source.frames else ():
        for derivation in group.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                image.ReferencedFrameNumber = source.frames[int(image.ReferencedFrameNumber) - 1]
