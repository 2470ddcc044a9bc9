from __future__ import annotations

import copy
import urllib.error
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from tumor_training.calibrate import Scale
from tumor_training.evaluation.provenance import read_provenance
from tumor_training.networks import Mirrored, TumorClassifier, TumorSegmenter
from tumor_training.networks.classifier import slice_logits
from tumor_training.networks.folding import fold_batch_norms, load_folded, measure_norms
from tumor_training.networks.normalise import Normalise, to_unit_range
from tumor_training.networks.weights import (
    RandomStartWarning,
    build_resnet,
    load_matching,
    read_shipped,
    read_state_dict,
    width_of,
)
from tumorctl.config import bundled_repository
from tumorctl.contract import CLASSIFIER, SEGMENTER
from tumorctl.errors import InvalidInput
from tumorctl.manifest import read_manifest

DOWNLOAD = "torchvision.models._api.load_state_dict_from_url"


def same_state(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_bytes_become_channels_first_in_the_unit_range() -> None:
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    images[0, 1, 0] = torch.tensor([255, 51, 0])
    converted = to_unit_range(images)
    assert converted.shape == (1, 3, 2, 2)
    assert converted.dtype == torch.float32
    assert converted[0, :, 1, 0].tolist() == pytest.approx([1, 0.2, 0])


def test_normalising_takes_the_mean_off_and_divides_by_the_deviation() -> None:
    torch.testing.assert_close(
        Normalise()(torch.full((1, 3, 1, 1), 0.5)).flatten(),
        torch.tensor([(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]),
    )


def test_normalising_leaves_no_trace_in_checkpoints() -> None:
    assert Normalise().state_dict() == {}


@pytest.mark.parametrize("depth", [18, 50])
def test_the_classifier_gives_one_logit_a_slice(depth: int) -> None:
    with torch.inference_mode():
        assert TumorClassifier(depth).eval()(torch.rand(2, 3, 64, 96)).shape == (2,)


@pytest.mark.parametrize("depth", [18, 50])
def test_the_segmenter_gives_one_logit_a_pixel(depth: int) -> None:
    with torch.inference_mode():
        assert TumorSegmenter(depth).eval()(torch.rand(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_both_networks_normalise_their_images() -> None:
    for network in (TumorClassifier(), TumorSegmenter()):
        images = torch.rand(1, 3, 32, 32)
        seen: list[torch.Tensor] = []
        network.normalise.register_forward_hook(lambda module, given, result, seen=seen: seen.extend([*given, result]))
        with torch.inference_mode():
            network.eval()(images)
        assert torch.equal(seen[0], images)
        assert torch.equal(seen[1], Normalise()(images))


def test_the_gradient_reaches_every_parameter_of_the_segmenter() -> None:
    network = TumorSegmenter()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("stage", ["detail", "stem", "contract.0", "contract.1", "contract.2", "bottleneck"])
def test_every_skip_connection_is_used(stage: str) -> None:
    """What a stage gives reaches the answer past the stages below it, whose answers are cut off here."""
    network = TumorSegmenter().eval()
    order = ["detail", "stem", "contract.0", "contract.1", "contract.2", "bottleneck"]
    for below in order[order.index(stage) + 1 :]:
        network.get_submodule(below).register_forward_hook(lambda module, given, result: torch.zeros_like(result))
    gradients: list[torch.Tensor] = []
    network.get_submodule(stage).register_forward_hook(
        lambda module, given, result: result.register_hook(gradients.append) and None
    )
    network(torch.rand(1, 3, 64, 64)).sum().backward()
    assert len(gradients) == 1
    assert bool(gradients[0].any())


def test_an_unknown_depth_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no ResNet-17: choose 18, 34, 50, 101, 152"):
        TumorClassifier(17)


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), ConnectionResetError(), PermissionError()])
def test_without_the_download_the_start_is_random_and_says_so(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(DOWNLOAD, refuse)
    with pytest.warns(RandomStartWarning, match="resnet18 cannot be reached"):
        network = build_resnet(18, "imagenet")
    assert isinstance(network, nn.Module)


def test_imagenet_weights_are_taken_where_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    published = get_model("resnet18", weights=None)
    monkeypatch.setattr(DOWNLOAD, lambda url, **options: published.state_dict())
    assert same_state(build_resnet(18, "imagenet"), published)


def test_a_random_start_asks_for_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DOWNLOAD, lambda *arguments, **options: pytest.fail("downloaded"))
    build_resnet(18, "random")


def test_a_local_file_is_loaded_where_names_and_shapes_match(tmp_path: Path) -> None:
    published = get_model("resnet18", weights=None)
    state = published.state_dict()
    state["fc.weight"] = torch.zeros(7, 512)  # another shape
    del state["layer1.0.conv1.weight"]
    state["unknown"] = torch.zeros(1)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    loaded = build_resnet(18, str(path)).state_dict()
    different = {name for name, value in published.state_dict().items() if not torch.equal(loaded[name], value)}
    assert different == {"fc.weight", "layer1.0.conv1.weight"}


def test_tensors_of_another_type_are_converted() -> None:
    layer = nn.Linear(2, 2)
    load_matching(layer, {"weight": torch.ones(2, 2, dtype=torch.float16)}, source="test")
    assert layer.weight.dtype == torch.float32
    assert bool((layer.weight == 1).all())


def test_a_missing_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no weights file"):
        build_resnet(18, str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.ckpt"])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(InvalidInput, match="is not a weights file"):
        build_resnet(18, str(tmp_path / name))


def test_a_file_that_fits_no_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"encoder.weight": torch.zeros(3)}, path)
    with pytest.raises(InvalidInput, match="holds no tensor that fits"):
        build_resnet(18, str(path))


@pytest.mark.parametrize("first", ["classifier", "segmenter"])
def test_a_checkpoint_of_either_network_starts_the_resnet_of_the_other(first: str, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"

    def checkpoint_of(network: nn.Module) -> str:
        torch.save({"state_dict": {f"network.{name}": value for name, value in network.state_dict().items()}}, path)
        return str(path)

    if first == "classifier":
        classifier = TumorClassifier()
        segmenter = TumorSegmenter(weights=checkpoint_of(classifier))
    else:
        segmenter = TumorSegmenter()
        classifier = TumorClassifier(weights=checkpoint_of(segmenter))
    backbone = classifier.backbone
    assert same_state(segmenter.stem[0], backbone.conv1)
    assert same_state(segmenter.stem[1], backbone.bn1)
    for mine, learned in zip(segmenter.contract, (backbone.layer1, backbone.layer2, backbone.layer3), strict=True):
        assert same_state(mine, learned)
    assert same_state(segmenter.bottleneck, backbone.layer4)


def test_a_slice_is_judged_by_the_cell_most_likely_to_show_tumour() -> None:
    cells = torch.full((3, 4, 4), -9.0)
    cells[1, 2, 3] = 6.0
    cells[2, 0, :2] = 6.0
    empty, one, two = slice_logits(cells).tolist()
    assert empty == pytest.approx(-9 + np.log(16), abs=1e-5)
    assert one == pytest.approx(6, abs=1e-4)
    assert two == pytest.approx(6 + np.log(2), abs=1e-4)


def test_cells_are_sixteen_pixels_and_lie_where_the_pixels_do() -> None:
    classifier = TumorClassifier()
    lively(classifier)
    images = torch.rand(1, 3, 128, 160).requires_grad_()
    cells = classifier.cells(images)
    assert cells.shape == (1, 8, 10)
    assert torch.equal(classifier(images), slice_logits(cells))
    cells[0, 0, 0].backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    near, far = images.grad[0, :, :16, :16].abs().sum(), images.grad[0, :, -16:, -16:].abs().sum()
    assert float(near) > 10 * float(far)


def test_a_plain_state_dict_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.ones(1)}, path)
    assert read_state_dict(path).keys() == {"conv1.weight"}


def lively(network: nn.Module) -> nn.Module:
    """Norms with statistics and factors of their own, as training leaves them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.uniform_(tensor, -0.3, 0.3)
    return network.eval()


@pytest.mark.parametrize("kind", [TumorClassifier, TumorSegmenter])
def test_folded_norms_go_back_into_a_network(kind: type[nn.Module]) -> None:
    network, images = lively(kind()), torch.rand(2, 3, 64, 64)
    folded = fold_batch_norms(copy.deepcopy(network))
    fresh = kind()
    load_folded(fresh, folded.state_dict())
    with torch.inference_mode():
        expected = network(images)
        torch.testing.assert_close(folded(images), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fresh.eval()(images), expected, atol=1e-4, rtol=1e-4)


def test_folded_weights_of_another_architecture_are_refused() -> None:
    state = fold_batch_norms(TumorSegmenter().eval()).state_dict()
    with pytest.raises(InvalidInput, match="another architecture"):
        load_folded(TumorClassifier(), state)
    with pytest.raises(InvalidInput, match="another architecture"):
        load_folded(TumorSegmenter(), {**state, "further.weight": torch.zeros(1)})


def test_measured_norms_answer_as_before_and_in_training_nearly_so() -> None:
    images = torch.rand(4, 3, 64, 64)
    network = TumorSegmenter()
    load_folded(network, fold_batch_norms(lively(TumorSegmenter())).state_dict())
    network.eval()
    with torch.no_grad():
        before = network(images)
        unmeasured = copy.deepcopy(network).train()(images)
        measure_norms(network, images)
        torch.testing.assert_close(network(images), before, atol=1e-3, rtol=1e-3)
        # On the very images that were measured, the statistics of the batch are those of the norms.
        torch.testing.assert_close(network.train()(images), before, atol=1e-2, rtol=1e-2)
    assert float((unmeasured - before).abs().max()) > 0.5


def test_the_shipped_networks_are_read_as_they_were_trained() -> None:
    for name in (CLASSIFIER, SEGMENTER):
        state = read_shipped(name)
        network = TumorClassifier() if name == CLASSIFIER else TumorSegmenter(width=width_of(state))
        load_folded(network, state)
        images = np.asarray(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3)), np.uint8)
        repository = bundled_repository()
        provenance = read_provenance(repository)
        session = onnxruntime.InferenceSession(
            read_manifest(repository).onnx_path(name), providers=["CPUExecutionProvider"]
        )
        (served,) = session.run(None, {"IMAGE": images})
        looking: nn.Module = network
        if name == SEGMENTER and provenance.mirror:
            other = read_shipped(name, second=True)
            second = TumorSegmenter(width=width_of(other)) if other else None
            if second:
                load_folded(second, other)
            looking = Mirrored(network, second)
        with torch.inference_mode():
            logits = looking.eval()(to_unit_range(torch.from_numpy(images))).reshape(2, -1)
        scale = Scale(provenance.temperature or 1.0, provenance.offset) if name == CLASSIFIER else Scale()
        np.testing.assert_allclose(scale.probabilities(logits), served.reshape(2, -1), atol=2e-3)


def test_a_mirrored_network_does_not_tell_left_from_right() -> None:
    network, images = Mirrored(lively(TumorSegmenter())).eval(), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(images.flip(-1)), network(images).flip(-1), atol=1e-5, rtol=1e-4)


def test_a_mirrored_network_is_the_mean_of_two_looks() -> None:
    plain, images = lively(TumorSegmenter()), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = (plain(images) + plain(images.flip(-1)).flip(-1)) / 2
        torch.testing.assert_close(Mirrored(plain)(images), expected, atol=1e-5, rtol=1e-4)
