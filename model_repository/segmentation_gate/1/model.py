"""The gate: runs the segmenter only on slices whose tumour probability reaches the threshold.

Triton's ensembles have no branches, so this step calls the segmenter itself (business logic scripting). It needs only
numpy, so that the unmodified Triton image serves it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

SEGMENTER = "tumor_segmenter"
CHUNK = 64
"""The segmenter's max_batch_size."""
SIDE = 256
THRESHOLD = "gate_threshold"
_DECIMAL = r"-?\d*\.?\d+(e[-+]?\d+)?"
"""A number, or one as text, which some clients must send; `float` alone would take 0_1 for 1 as well."""
COUNTERS = {
    "seen": "Slices that reached the gate",
    "passed": "Slices that passed the gate to the segmenter",
    "skipped": "Slices that the gate kept from the segmenter",
}


class RefusedRequest(Exception):
    """A request that the gate does not answer, with the reason."""


class SegmenterFailed(Exception):
    """The segmenter did not answer, with the reason."""


def request_threshold(parameters: str, default: float) -> float:
    """The gate threshold of one request.

    Args:
        parameters: the request's parameters as JSON, empty where there are none.
        default: where the request names no threshold.

    Raises:
        RefusedRequest: the threshold is not a number from 0 to 1, nor such a number as text.
    """
    value = (json.loads(parameters) if parameters else {}).get(THRESHOLD)
    if value is None:
        return default
    number = not isinstance(value, bool) and re.fullmatch(_DECIMAL, str(value))
    threshold = float(value) if number else math.nan
    if not 0 <= threshold <= 1:
        raise RefusedRequest(f"parameter {THRESHOLD} must be a number from 0 to 1")
    return threshold


class TritonPythonModel:
    """Triton's entry to this model; one instance is one process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the thresholds from the configuration and register the metrics."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.gate_threshold = float(parameters[THRESHOLD]["string_value"])
        self.mask_threshold = float(parameters["mask_threshold"]["string_value"])
        self.families = {
            name: pb_utils.MetricFamily(
                name=f"tumor_gate_slices_{name}", description=description, kind=pb_utils.MetricFamily.COUNTER
            )
            for name, description in COUNTERS.items()
        }
        labels = {"model": args["model_name"], "version": args["model_version"]}
        self.metrics = {name: family.Metric(labels=labels) for name, family in self.families.items()}

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests together: gather what passes, segment it in chunks, scatter the masks."""
        answers: list[Any] = [None] * len(requests)
        passed: dict[int, npt.NDArray[np.bool_]] = {}
        gathered = []
        trace = None
        for index, request in enumerate(requests):
            try:
                threshold = request_threshold(request.parameters(), self.gate_threshold)
            except RefusedRequest as refusal:
                answers[index] = error(str(refusal), pb_utils.TritonError.INVALID_ARG)
                continue
            probabilities = pb_utils.get_input_tensor_by_name(request, "TUMOR_PROBABILITY").as_numpy()[:, 0]
            passed[index] = probabilities >= np.float32(threshold)
            if passed[index].any():
                trace = trace or sampled_trace(request)
                gathered.append(pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()[passed[index]])
        failure = None
        masks = np.zeros((0, SIDE, SIDE), np.uint8)
        if gathered:
            try:
                masks = await self.segment(np.concatenate(gathered), trace)
            except SegmenterFailed as problem:
                failure = problem
        taken = 0
        for index, open_gate in passed.items():
            count = int(open_gate.sum())
            if count and failure is not None:
                answers[index] = error(f"the segmenter failed: {failure}", pb_utils.TritonError.UNAVAILABLE)
                continue
            mask = np.zeros((len(open_gate), SIDE, SIDE), np.uint8)
            mask[open_gate] = masks[taken : taken + count]
            taken += count
            answers[index] = pb_utils.InferenceResponse(
                [pb_utils.Tensor("SEGMENTED", open_gate[:, np.newaxis]), pb_utils.Tensor("MASK", mask)]
            )
            for name, amount in (("seen", len(open_gate)), ("passed", count), ("skipped", len(open_gate) - count)):
                if amount:
                    self.metrics[name].increment(amount)
        return answers

    async def segment(self, images: npt.NDArray[np.uint8], trace: Any = None) -> npt.NDArray[np.uint8]:
        """Masks, 0 or 1, of at least one image; chunks of the segmenter's largest batch run side by side.

        Args:
            images: uint8, shape (slice, 256, 256, 3).
            trace: the segmenter's spans become part of it; a call has one, whoever else's slices travel with it.

        Raises:
            SegmenterFailed: a chunk got no answer.
        """
        traced = {} if trace is None else {"trace": trace}
        calls = [
            pb_utils.InferenceRequest(
                model_name=SEGMENTER,
                requested_output_names=["MASK_PROBABILITY"],
                inputs=[pb_utils.Tensor("IMAGE", np.ascontiguousarray(images[start : start + CHUNK]))],
                preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
                **traced,
            ).async_exec()
            for start in range(0, len(images), CHUNK)
        ]
        masks = []
        for answer in await asyncio.gather(*calls):
            if answer.has_error():
                raise SegmenterFailed(answer.error().message())
            probabilities = pb_utils.get_output_tensor_by_name(answer, "MASK_PROBABILITY").as_numpy()
            masks.append((probabilities >= np.float32(self.mask_threshold)).astype(np.uint8))
        return np.concatenate(masks)


def sampled_trace(request: Any) -> Any:
    """The trace that Triton keeps of a request; None where it keeps none."""
    trace = request.trace()
    return trace if trace.get_context() else None


def error(message: str, code: int) -> Any:
    """A response that carries an error; raising would take the whole batch down with it."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
