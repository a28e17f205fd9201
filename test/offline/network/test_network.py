# Copyright 2026 The vpr_compressed authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Trunks and NetVLAD against torchvision and against the formulas of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import make_tiny_spec
import torch
import torchvision

from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import TrainingError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.offline.network.backbones import build_trunk
from vpr_compressed.offline.network.backbones import TRUNKS
from vpr_compressed.offline.network.initialise import fit_projection
from vpr_compressed.offline.network.initialise import kmeans
from vpr_compressed.offline.network.network import NetVlad
from vpr_compressed.offline.network.network import VprNetwork


def _reference_features(name: str, model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Run the torchvision model itself up to the usual cut."""
    if name == 'vgg16':
        return model.features[:29](images)
    if name == 'mobilenet_v2':
        return model.features[14].conv[0](model.features[:14](images))
    x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
    return model.layer3(model.layer2(model.layer1(x)))


@pytest.mark.parametrize('name', TRUNKS)
def test_trunk_equals_torchvision(name: str, tmp_path: Path) -> None:
    """Folding batch norm and rebuilding from plain layers changes nothing."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
    weights = tmp_path / 'trunk.safetensors'
    save_file({key: value.contiguous() for key, value in model.state_dict().items()
               if not key.startswith(('classifier', 'fc'))}, weights)
    trunk = build_trunk(name, weights=weights)
    network = VprNetwork(NetworkSpec(
        trunk=name, layers=tuple(trunk.layers), clusters=2, dimension=4))
    network.load_tensors(trunk.tensors)
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = _reference_features(name, model, images)
        found = network.features(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_vgg16_netvlad_has_the_parameters_of_the_paper() -> None:
    """149.0 M parameters at 64 clusters and 4096-D (Open Model Zoo lists 149.0021 M)."""
    trunk = build_trunk('vgg16')
    spec = NetworkSpec(trunk='vgg16', layers=tuple(trunk.layers), clusters=64, dimension=4096)
    assert spec.parameters() == 149_002_048 + 64  # the assignment has a bias here


def test_netvlad_equals_loop_over_residuals() -> None:
    """The residual-free form gives the residual sums of the paper."""
    torch.manual_seed(1)
    layer = NetVlad(3, 5)
    features = torch.randn(2, 5, 4, 6)
    expected = []
    for image in features:
        points = torch.nn.functional.normalize(image.flatten(1).T, dim=1)
        vlad = torch.zeros(3, 5)
        for x in points:
            share = layer.assignment(x).softmax(dim=0)
            for cluster in range(3):
                vlad[cluster] += share[cluster] * (x - layer.centers[cluster])
        vlad = torch.nn.functional.normalize(vlad, dim=1).flatten()
        expected.append(torch.nn.functional.normalize(vlad, dim=0))
    torch.testing.assert_close(layer(features), torch.stack(expected))


def test_netvlad_forgets_where_features_stand() -> None:
    """Shuffling the positions leaves the vector unchanged; a batch equals its singles."""
    torch.manual_seed(2)
    layer = NetVlad(3, 5)
    features = torch.randn(2, 5, 4, 6)
    shuffled = features.flatten(2)[:, :, torch.randperm(24)].reshape(2, 5, 4, 6)
    torch.testing.assert_close(layer(features), layer(shuffled))
    torch.testing.assert_close(layer(features)[1:], layer(features[1:]))


def test_frozen_layers_get_no_gradient() -> None:
    """Layers before the first trained one keep their weights, the others learn."""
    network = VprNetwork(make_tiny_spec())
    network.freeze_layers(2)
    network(torch.randn(2, 3, 48, 64)).sum().backward()
    named = dict(network.named_parameters())
    assert named['convs.stem.weight'].grad is None
    assert float(named['convs.point.weight'].grad.abs().sum()) > 0


def test_outputs_with_a_range_are_rounded_to_it() -> None:
    """256 values at most, the nearest ones, and the layers after it see them."""
    torch.manual_seed(0)
    network = VprNetwork(make_tiny_spec()).eval()
    images = torch.randn(2, 3, 48, 64)
    with torch.inference_mode():
        exact = network.features(images)
        network.activations = {'sum': ActivationRange(0.01, 100)}
        rounded = network.features(images)
        expected = 0.01 * ((exact / 0.01).round() + 100).clamp(0, 255).sub(100)
        torch.testing.assert_close(rounded, expected)
        network.activations = {INPUT: ActivationRange(1.0, 2)}
        found = network.features(images)
        network.activations = {}
        torch.testing.assert_close(found, network.features(images.round().clamp(-2, 253)))
    assert (rounded - exact).abs().max() > 1e-4


def test_rounding_passes_the_gradient_within_its_range_only() -> None:
    """Values beyond the range have no way to change the output."""
    network = VprNetwork(make_tiny_spec())
    network.activations = {INPUT: ActivationRange(0.02, 128)}
    seen = {}
    plain = network._run

    def run(layer: Layer, inputs: list[torch.Tensor]) -> torch.Tensor:
        seen.setdefault('image', inputs[0])
        return plain(layer, inputs)

    network._run = run
    images = (4 * torch.randn(1, 3, 48, 64)).requires_grad_()
    network.features(images)
    seen['image'].sum().backward()
    steps = (images.detach() / 0.02).round() + 128
    inside = (steps >= 0) & (steps <= 255)
    assert 0.1 < float(inside.float().mean()) < 0.9
    torch.testing.assert_close(images.grad, inside.to(torch.float32))


def test_rounding_is_float32_under_autocast() -> None:
    """Bfloat16 has too few bits for 256 steps; the values stay on the grid."""
    torch.manual_seed(1)
    network = VprNetwork(make_tiny_spec()).eval()
    network.activations = {'sum': ActivationRange(0.013, 77)}
    with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16):
        found = network.features(torch.randn(1, 3, 48, 64))
    assert found.dtype == torch.float32
    steps = found / 0.013
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_kmeans_finds_separate_clusters() -> None:
    """Three tight clouds give their three means, whatever the start."""
    torch.manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (means[:, None] + 0.1 * torch.randn(3, 50, 2)).flatten(0, 1)
    best = min((kmeans(points, 3, seed=seed) for seed in range(5)),
               key=lambda centers: float(torch.cdist(points, centers).min(dim=1).values.sum()))
    assert float(torch.cdist(means, best).min(dim=1).values.max()) < 0.1
    with pytest.raises(TrainingError, match='at least as many'):
        kmeans(points, 151)


def test_projection_is_pca_with_partial_whitening() -> None:
    """Power 1 gives unit variances up to one factor, power 0 keeps them; both decorrelate."""
    torch.manual_seed(0)
    vectors = torch.randn(200, 30) @ torch.randn(30, 30)
    for power in (0.0, 0.5, 1.0):
        weight, bias = fit_projection(vectors, 6, power=power)
        projected = vectors @ weight.T + bias
        covariance = torch.cov(projected.T)
        variances = covariance.diagonal()
        raw = torch.linalg.eigvalsh(torch.cov(vectors.T)).flip(0)[:6]
        torch.testing.assert_close(projected.mean(dim=0), torch.zeros(6), atol=1e-3, rtol=0)
        torch.testing.assert_close(
            variances / variances[0], (raw / raw[0]) ** (1 - power), rtol=1e-2, atol=1e-4)
        off = covariance - torch.diag(variances)
        assert float(off.abs().max()) < 1e-3 * float(variances.max())
    with pytest.raises(TrainingError, match='more than 300 images'):
        fit_projection(vectors, 300)


def test_wrong_weights_and_names_are_refused(tmp_path: Path) -> None:
    """A file of another network, a damaged file and unknown names are clear errors."""
    from safetensors.numpy import save_file

    save_file({'features.0.weight': np.zeros((2, 2), np.float32)}, tmp_path / 'a.safetensors')
    (tmp_path / 'b.safetensors').write_bytes(b'no such file format')
    for name in ('a', 'b', 'missing'):
        with pytest.raises(TrainingError):
            build_trunk('mobilenet_v2', weights=tmp_path / f'{name}.safetensors')
    with pytest.raises(ConfigError, match="did you mean 'mobilenet_v2'"):
        build_trunk('mobilenetv2')
    with pytest.raises(ConfigError, match='no layer'):
        build_trunk('mobilenet_v2', cut='features.14.conv.9')
