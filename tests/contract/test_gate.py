"""The gate on the real server, seen through Triton's own statistics, with raw tritonclient calls.

Where only the gate counts, and not what the shipped networks see, small networks stand in for them: they take no time.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from small_networks import BETWEEN
from tumorctl.serving.triton import TritonServer

Images = npt.NDArray[np.uint8]
Raw: TypeAlias = triton_grpc.InferenceServerClient


@pytest.fixture
def raw(triton: TritonServer) -> Iterator[Raw]:
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


@pytest.fixture
def raw_small(small_triton: TritonServer) -> Iterator[Raw]:
    with triton_grpc.InferenceServerClient(small_triton.grpc_url) as client:
        yield client


def ask(
    raw: Raw, images: Images, **parameters: float | str | bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """What an integrator writes who knows the contract and nothing of this project."""
    image = triton_grpc.InferInput("IMAGE", list(images.shape), "UINT8")
    image.set_data_from_numpy(images)
    answer = raw.infer("tumor_detection", [image], parameters=parameters, client_timeout=60)
    return answer.as_numpy("TUMOR_PROBABILITY"), answer.as_numpy("SEGMENTED"), answer.as_numpy("MASK")


def inferences(raw: Raw, model: str) -> int:
    """Slices that a model has computed, as Triton counts them."""
    return int(raw.get_inference_statistics(model).model_stats[0].inference_count)


def executions(raw: Raw, model: str) -> int:
    """How often a model was run, be it for one request or for several together."""
    return int(raw.get_inference_statistics(model).model_stats[0].execution_count)


def gate_metrics(triton: TritonServer) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", triton.options.metrics_port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {name: float(value) for name, value in re.findall(r"^tumor_gate_slices_(\w+)\{.*\} (\S+)$", text, re.M)}


def test_answers_have_the_shapes_and_types_of_the_contract(raw: Raw, phantoms: Images) -> None:
    probability, segmented, mask = ask(raw, phantoms)
    assert [array.shape for array in (probability, segmented, mask)] == [(7, 1), (7, 1), (7, 256, 256)]
    assert [array.dtype.name for array in (probability, segmented, mask)] == ["float32", "bool", "uint8"]
    assert set(np.unique(mask)) == {0, 1}
    assert [bool(one.any()) for one in mask] == [False, False, True, True, True, True, False]
    assert not mask[~segmented[:, 0]].any()


def test_a_batch_without_tumour_does_not_reach_the_segmenter(raw: Raw, phantoms: Images) -> None:
    before = inferences(raw, "tumor_segmenter")
    _, segmented, mask = ask(raw, phantoms[[0, 1, 6]], gate_threshold=0.9)
    assert not segmented.any()
    assert not mask.any()
    assert inferences(raw, "tumor_segmenter") == before


def test_a_mixed_batch_adds_exactly_its_positives(raw: Raw, phantoms: Images) -> None:
    before = {model: inferences(raw, model) for model in ("tumor_classifier", "tumor_segmenter")}
    _, segmented, _ = ask(raw, phantoms, gate_threshold=0.9)
    assert segmented[:, 0].tolist() == [False, False, True, True, True, True, False]
    assert inferences(raw, "tumor_segmenter") - before["tumor_segmenter"] == 4
    assert inferences(raw, "tumor_classifier") - before["tumor_classifier"] == 7


def test_metrics_count_what_the_gate_did(raw: Raw, triton: TritonServer, phantoms: Images) -> None:
    before = gate_metrics(triton)
    ask(raw, phantoms, gate_threshold=0.9)
    after = gate_metrics(triton)
    assert {name: after[name] - before[name] for name in after} == {"seen": 7, "passed": 4, "skipped": 3}


@pytest.mark.parametrize(("threshold", "passing"), [(0, 7), (0.0, 7), (str(BETWEEN), 4), (1, 0), (1.0, 0)])
def test_one_request_can_set_its_threshold(
    raw_small: Raw, phantoms: Images, threshold: float | str, passing: int
) -> None:
    probability, segmented, _ = ask(raw_small, phantoms, gate_threshold=threshold)
    assert segmented.sum() == passing
    assert np.array_equal(segmented, probability >= np.float32(threshold))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf"), True, "high", "", "0_1", " 0.5", "1e3"])
def test_a_threshold_that_makes_no_sense_is_refused(raw: Raw, phantoms: Images, threshold: float | str | bool) -> None:
    with pytest.raises(InferenceServerException, match="gate_threshold must be a number from 0 to 1"):
        ask(raw, phantoms, gate_threshold=threshold)


def test_thresholds_of_requests_do_not_mix(small_triton: TritonServer, raw_small: Raw, phantoms: Images) -> None:
    """Nor do their slices: each client sends them from another one on, and gets the masks of its own."""
    _, all_segmented, masks = ask(raw_small, phantoms, gate_threshold=0.0)
    assert all_segmented.all()
    assert len(np.unique(masks, axis=0)) == len(phantoms)
    before = executions(raw_small, "segmentation_gate")
    rounds, wrong, answered = 20, list[str](), list[float]()

    def work(first: int, threshold: float, passing: int) -> None:
        with triton_grpc.InferenceServerClient(small_triton.grpc_url) as client:
            for _ in range(rounds):
                probability, segmented, mask = ask(client, np.roll(phantoms, first, 0), gate_threshold=threshold)
                if segmented.sum() != passing or not np.array_equal(segmented, probability >= np.float32(threshold)):
                    wrong.append(f"{threshold}: {segmented.sum()} passed")
                if not np.array_equal(mask, np.roll(masks, first, 0) * segmented[:, :, np.newaxis]):
                    wrong.append(f"{threshold}: masks of another request")
                answered.append(threshold)

    clients = enumerate([(0.0, 7), (BETWEEN, 4), (1.0, 0), (BETWEEN, 4)])
    threads = [threading.Thread(target=work, args=(first, *pair)) for first, pair in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    assert len(answered) == rounds * len(threads)
    # Otherwise nothing could have mixed: the gate was handed requests together.
    assert executions(raw_small, "segmentation_gate") - before < rounds * len(threads)


def test_the_largest_batch_is_answered(raw_small: Raw, phantoms: Images) -> None:
    images = np.concatenate([phantoms] * 10)[:64]
    _, segmented, mask = ask(raw_small, images, gate_threshold=0.0)
    assert segmented.all()
    assert np.array_equal(mask[:7], mask[7:14])


def test_a_batch_too_large_is_refused(raw: Raw, phantoms: Images) -> None:
    with pytest.raises(InferenceServerException, match="64"):
        ask(raw, np.concatenate([phantoms] * 10)[:65])


def test_an_image_of_another_size_is_refused(raw: Raw) -> None:
    with pytest.raises(InferenceServerException, match="IMAGE"):
        ask(raw, np.zeros((1, 128, 128, 3), np.uint8))
