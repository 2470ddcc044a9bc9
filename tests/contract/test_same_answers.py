"""The local engine and the served ensemble behave alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tumorctl import ClientOptions, SlicePrediction, TumorClient, UnsupportedImage
from tumorctl.io.discovery import SliceFile, discover
from tumorctl.io.slices import read_slice
from tumorctl.serving.triton import TritonServer

Images = npt.NDArray[np.uint8]


def predict_both(images: Images, triton: TritonServer, **options: float) -> list[list[SlicePrediction]]:
    answers = []
    for url in (None, triton.grpc_url):
        with TumorClient(url, options=ClientOptions(**options)) as client:  # type: ignore[arg-type]
            answers.append(list(client.predict(images)))
    return answers


def same_masks(one: SlicePrediction, other: SlicePrediction) -> bool:
    if one.mask is None or other.mask is None:
        return one.mask is other.mask
    total = one.mask.sum() + other.mask.sum()
    return bool(total == 0 or 2 * (one.mask & other.mask).sum() / total >= 0.999)


def test_on_200_real_slices(patients: Path, triton: TritonServer) -> None:
    files = [item.path for item in discover([patients]) if isinstance(item, SliceFile)][:200]
    images = np.stack([read_slice(path) for path in files])
    assert len(images) == 200
    local, served = predict_both(images, triton)
    assert len(local) == len(served) == len(images)
    differences = [abs(a.tumor_probability - b.tumor_probability) for a, b in zip(local, served, strict=True)]
    assert max(differences) <= 1e-3
    assert [a.segmented for a in local] == [b.segmented for b in served]
    assert sum(a.segmented for a in local) > 30
    assert all(same_masks(a, b) for a, b in zip(local, served, strict=True))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_whatever_the_batch(phantoms: Images, triton: TritonServer, batch_size: int) -> None:
    three = phantoms[1:4]  # one without tumour, two with
    for answers in predict_both(np.concatenate([three] * 2), triton, batch_size=batch_size, gate_threshold=0.0):
        for first, again in zip(answers[:3], answers[3:], strict=True):
            assert first.tumor_probability == again.tumor_probability
            assert first.mask is not None
            assert again.mask is not None
            assert np.array_equal(first.mask, again.mask)


def test_each_engine_finds_the_tumour_of_the_phantom(client: TumorClient, phantoms: Images) -> None:
    results = list(client.predict(phantoms))
    assert [result.has_tumor for result in results] == [False, False, True, True, True, True, False]
    largest = results[4].mask
    assert largest is not None
    rows, columns = np.nonzero(largest)
    # Where the phantom was given its tumour: around row 104, column 168, 26 by 22 pixels half axes.
    assert abs(rows.mean() - 104) < 4
    assert abs(columns.mean() - 168) < 4
    assert result_area_is_near(results[4].area_px, 26 * 22 * np.pi)


def result_area_is_near(area: float, wanted: float) -> bool:
    return 0.8 < area / wanted < 1.25


def test_each_engine_takes_slices_of_any_size(client: TumorClient, phantoms: Images) -> None:
    wide = np.zeros((300, 420, 3), np.uint8)
    wide[20:276, 80:336] = phantoms[4]
    grey = phantoms[4][:, :, 1]
    in_place, one_channel = client.predict([wide, grey])
    assert in_place.mask is not None
    assert in_place.mask.shape == (300, 420)
    assert in_place.has_tumor
    assert one_channel.tumor_probability >= 0


def test_each_engine_tells_its_provenance(client: TumorClient) -> None:
    assert set(client.info.model_digests) == {"tumor_classifier", "tumor_segmenter"}
    assert all(len(digest) == 64 for digest in client.info.model_digests.values())
    assert client.gate_threshold is not None
    assert 0 < client.gate_threshold < 1


def test_each_engine_refuses_what_is_not_a_slice(client: TumorClient) -> None:
    with pytest.raises(UnsupportedImage):
        list(client.predict(np.zeros((1, 256, 256, 3), np.uint16)))


def test_each_engine_answers_nothing_for_nothing(client: TumorClient) -> None:
    assert list(client.predict(np.zeros((0, 256, 256, 3), np.uint8))) == []
