"""The measurements as a DICOM structured report, template TID 1500."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom.sr as hsr
import numpy as np
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from tumorctl import __version__
from tumorctl.outputs.dicom import codes
from tumorctl.outputs.dicom.source import Source, algorithm_parameters, device_uid, making, result_uid, source_of

if TYPE_CHECKING:
    from tumorctl.core.measurements import Measurements
    from tumorctl.study import StudyPrediction

_DECIMALS = 4


def structured_report(prediction: StudyPrediction, measurements: Measurements) -> hsr.Comprehensive3DSR:
    """The measurements as a Comprehensive 3D SR, preliminary and unverified.

    With a tumour, its measurement group refers to the segment in the SEG object of the same prediction; without one,
    the group holds the probability and says that no neoplasm was found.

    Args:
        prediction: a study read from DICOM.
        measurements: of its mask.

    Raises:
        OutputError: the FLAIR's header does not allow it.
        NoDicomSource: the study was not read from DICOM.
        MissingDicomTag: the FLAIR lacks a required attribute.
        MaskMismatch: the mask is not on the FLAIR's slices.
    """
    source = source_of(prediction)
    number, description = codes.SR_SERIES
    with making("structured report"):
        group = (_tumor if prediction.has_tumor else _no_tumor)(prediction, measurements, source)
        report = hsr.MeasurementReport(
            observation_context=_observer(prediction),
            procedure_reported=codes.MR_BRAIN,
            imaging_measurements=[group],
        )
        for text in (codes.COMMENT, *prediction.warnings):
            # The report speaks the scan's character set, which may know no more than ASCII.
            plain = text.encode("ascii", "replace").decode()
            report[0].ContentSequence.append(
                hsr.TextContentItem(codes.COMMENT_NAME, plain, hsr.RelationshipTypeValues.CONTAINS)
            )
        evidence = [*source.headers, *([_segmentation_of(prediction, source)] if prediction.has_tumor else [])]
        made = hsr.Comprehensive3DSR(
            evidence=evidence,
            content=report[0],
            series_instance_uid=result_uid(prediction, "sr series"),
            series_number=number,
            sop_instance_uid=result_uid(prediction, "sr"),
            instance_number=1,
            manufacturer=codes.NAME,
            manufacturer_model_name=codes.NAME,
            software_versions=__version__,
            device_serial_number="0",
            is_complete=True,
            is_final=False,
            is_verified=False,
            performed_procedure_codes=[codes.MR_BRAIN],
            series_description=description,
        )
        return source.complete(made)


def _observer(prediction: StudyPrediction) -> hsr.ObservationContext:
    device = hsr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(prediction),
        name=codes.NAME,
        manufacturer_name=codes.NAME,
        model_name=f"{codes.NAME} {__version__}",
    )
    return hsr.ObservationContext(
        observer_device_context=hsr.ObserverContext(observer_type=codes.DEVICE, observer_identifying_attributes=device)
    )


def _tumor(
    prediction: StudyPrediction, measurements: Measurements, source: Source
) -> hsr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    diameters, laterality, centroid = measurements.diameters, measurements.laterality, measurements.centroid_lps_mm
    assert diameters is not None  # there are diameters wherever there is a tumour
    assert laterality is not None
    on_slice = _measured_on(source, diameters.index) if diameters.axis == 0 else None
    group = hsr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(prediction),
        referenced_segment=hsr.ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=result_uid(prediction, "seg"),
            segment_number=1,
            source_series=hsr.SourceSeriesForSegmentation(source.original.SeriesInstanceUID),
        ),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_type=codes.NEOPLASM,
        finding_sites=[hsr.FindingSite(codes.BRAIN, laterality=codes.LATERALITY[laterality])],
        algorithm_id=_algorithm(prediction),
        measurements=[
            hsr.Measurement(codes.VOLUME, round(measurements.volume_ml, _DECIMALS), codes.MILLILITER),
            hsr.Measurement(
                codes.LONG_AXIS, round(diameters.longest_mm, _DECIMALS), codes.MILLIMETER, referenced_images=on_slice
            ),
            hsr.Measurement(
                codes.SHORT_AXIS,
                round(diameters.perpendicular_mm, _DECIMALS),
                codes.MILLIMETER,
                referenced_images=on_slice,
            ),
            _probability(prediction),
        ],
    )
    group[0].ContentSequence.append(
        hsr.Scoord3DContentItem(
            name=codes.CENTER_OF_MASS,
            graphic_type=hsr.GraphicTypeValues3D.POINT,
            graphic_data=np.array([centroid]),
            frame_of_reference_uid=source.original.FrameOfReferenceUID,
            relationship_type=hsr.RelationshipTypeValues.CONTAINS,
        )
    )
    return group


def _no_tumor(
    prediction: StudyPrediction, measurements: Measurements, source: Source
) -> hsr.MeasurementsAndQualitativeEvaluations:
    return hsr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(prediction),
        finding_sites=[hsr.FindingSite(codes.BRAIN)],
        algorithm_id=_algorithm(prediction),
        measurements=[_probability(prediction)],
        qualitative_evaluations=[hsr.QualitativeEvaluation(codes.NEOPLASM, codes.ABSENT)],
        source_images=[
            hsr.SourceImageForMeasurementGroup(str(header.SOPClassUID), str(header.SOPInstanceUID))
            for header in source.headers
        ],
    )


def _tracking(prediction: StudyPrediction) -> hsr.TrackingIdentifier:
    return hsr.TrackingIdentifier(uid=result_uid(prediction, "tumour"), identifier=codes.TRACKING_ID)


def _algorithm(prediction: StudyPrediction) -> hsr.AlgorithmIdentification:
    return hsr.AlgorithmIdentification(
        name=codes.NAME,
        version=__version__,
        parameters=[f"{name}={value}" for name, value in algorithm_parameters(prediction).items()],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=codes.NAME,
    )


def _probability(prediction: StudyPrediction) -> hsr.Measurement:
    return hsr.Measurement(codes.PROBABILITY, round(prediction.tumor_probability, 6), codes.NO_UNITS)


def _measured_on(source: Source, index: int) -> list[hsr.SourceImageForMeasurement]:
    header, frame = source.instance(index)
    return [hsr.SourceImageForMeasurement(str(header.SOPClassUID), str(header.SOPInstanceUID), frame)]


def _segmentation_of(prediction: StudyPrediction, source: Source) -> Dataset:
    """What names the SEG object of the same prediction, which need not be made for it."""
    named = Dataset()
    named.SOPClassUID = SegmentationStorage
    named.SOPInstanceUID = result_uid(prediction, "seg")
    named.SeriesInstanceUID = result_uid(prediction, "seg series")
    named.StudyInstanceUID = source.original.StudyInstanceUID
    return named
