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

"""Pruning of channels: dependencies, pruned == masked, cost, plans and what must be refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
import functools

import numpy as np
from numpy.typing import NDArray
import pytest
from tiny_model import make_tiny_spec
import torch
import torchvision  # noqa: F401

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.pruning_plan import Cost
from vpr_compressed.offline.compression.pruning_plan import keep_by_sensitivity
from vpr_compressed.offline.compression.pruning_plan import keep_globally
from vpr_compressed.offline.compression.pruning_plan import keep_per_layer
from vpr_compressed.offline.compression.pruning_plan import scan
from vpr_compressed.offline.compression.structure import channel_groups
from vpr_compressed.offline.compression.structure import descriptor_change
from vpr_compressed.offline.compression.structure import importances
from vpr_compressed.offline.compression.structure import mask_channels
from vpr_compressed.offline.compression.structure import mean_activations
from vpr_compressed.offline.compression.structure import remove_channels
from vpr_compressed.offline.compression.structure import resized
from vpr_compressed.offline.compression.structure import taylor_scores
from vpr_compressed.offline.network.backbones import build_trunk
from vpr_compressed.offline.network.network import VprNetwork

Weights = dict[str, NDArray[np.float32]]
TRUNKS = ('tiny', 'mobilenet_v2', 'resnet18', 'vgg16')


@functools.cache
def make_spec(name: str) -> NetworkSpec:
    """Return a network with one of the trunks and a small head."""
    if name == 'tiny':
        return make_tiny_spec()
    return NetworkSpec(
        trunk=name, layers=tuple(build_trunk(name).layers), clusters=4, dimension=16)


@functools.cache
def make_weights(spec: NetworkSpec, seed: int = 0) -> Weights:
    """Return He weights, and biases of both signs large enough to revive a pruned channel."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in spec.tensor_shapes().items():
        scale = 0.2 if len(shape) == 1 else (2.0 / np.prod(shape[1:])) ** 0.5
        weights[name] = (scale * random.standard_normal(shape)).astype(np.float32)
    return weights


def describe(spec: NetworkSpec, weights: Weights) -> NDArray[np.float32]:
    """Return the descriptors of two images of noise, 64x48."""
    network = VprNetwork(spec).eval()
    network.load_tensors(weights)
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return np.asarray(network(images).numpy())


def random_keep(spec: NetworkSpec, seed: int) -> dict[str, NDArray[np.int64]]:
    """Return some channels of every group, at least one."""
    random = np.random.default_rng(seed)
    return {group.name: np.sort(random.permutation(group.channels)[
        :random.integers(1, group.channels + 1)]) for group in channel_groups(spec)}


@pytest.mark.parametrize('name', TRUNKS)
@pytest.mark.parametrize('seed', [0, 1])
def test_pruned_network_equals_masked_network(name: str, seed: int) -> None:
    """Removing channels does the same as zeroing them, and changes what comes out."""
    spec = make_spec(name)
    weights = make_weights(spec)
    keep = random_keep(spec, seed)
    smaller, pruned = remove_channels(spec, weights, keep)
    assert {key: value.shape for key, value in pruned.items()} == smaller.tensor_shapes()
    assert smaller.parameters() < spec.parameters()
    masked = describe(spec, mask_channels(spec, weights, keep))
    np.testing.assert_allclose(describe(smaller, pruned), masked, atol=1e-5)
    assert np.abs(masked - describe(spec, weights)).max() > 1e-2


def test_one_group_alone_can_be_pruned() -> None:
    """Each group of a network with residuals and depthwise layers holds by itself."""
    spec = make_spec('tiny')
    weights = make_weights(spec)
    for group in channel_groups(spec):
        keep = {group.name: np.array([1, 2, 5])}
        smaller, pruned = remove_channels(spec, weights, keep)
        assert [layer.channels for layer in smaller.layers if layer.name in group.layers] == (
            [3] * len(group.layers))
        np.testing.assert_allclose(
            describe(smaller, pruned), describe(spec, mask_channels(spec, weights, keep)),
            atol=1e-5)


def test_masking_zeroes_as_many_weights_as_removing_takes_out() -> None:
    """So zeros may be counted on either."""
    spec = make_spec('mobilenet_v2')
    weights = {name: np.ones(shape, np.float32) for name, shape in spec.tensor_shapes().items()}
    keep = random_keep(spec, 3)
    masked = mask_channels(spec, weights, keep)
    zeros = sum(int((values == 0).sum()) for values in masked.values())
    smaller, _ = remove_channels(spec, weights, keep)
    assert zeros == spec.parameters() - smaller.parameters()
    assert all((values == 1).all() for values in weights.values()), 'the input was changed'


def test_keeping_everything_changes_nothing() -> None:
    """The arrays themselves are passed on: a 600 MB network is not copied for nothing."""
    spec = make_spec('resnet18')
    weights = make_weights(spec)
    keep = {group.name: np.arange(group.channels) for group in channel_groups(spec)}
    smaller, pruned = remove_channels(spec, weights, keep)
    assert smaller == spec
    assert all(pruned[name] is weights[name] for name in weights)


def test_groups_of_the_tiny_network() -> None:
    """The pool, the depthwise layer, the residual and NetVLAD tie everything together."""
    group, = channel_groups(make_tiny_spec())
    assert (group.name, group.channels, group.is_feature) == ('stem', 8, True)
    assert group.layers == ('stem', 'pool', 'deep', 'point', 'sum')
    assert group.producers == ('stem', 'deep', 'point')
    assert group.consumers == ('point', 'netvlad')


def test_groups_of_mobilenet_follow_its_residuals() -> None:
    """Blocks 4, 5 and 6 share their output; each expansion is tied to its depthwise layer."""
    groups = {group.name: group for group in channel_groups(make_spec('mobilenet_v2'))}
    residual = groups['features.4.conv.2']
    assert residual.producers == (
        'features.4.conv.2', 'features.5.conv.2', 'features.6.conv.2')
    assert residual.consumers == ('features.5.conv.0', 'features.6.conv.0', 'features.7.conv.0')
    assert groups['features.5.conv.0'].layers == ('features.5.conv.0', 'features.5.conv.1')
    assert [name for name, group in groups.items() if group.is_feature] == ['features.14.conv.0']


def test_grouped_convolutions_and_the_image_are_left_alone() -> None:
    """What a grouped convolution reads and writes cannot be pruned; the rest still can."""
    spec = NetworkSpec(trunk='grouped', clusters=2, dimension=4, layers=(
        Layer(name='lens', op='conv', inputs=(INPUT,), channels=3, kernel=3, padding=1, groups=3),
        Layer(name='stem', op='conv', inputs=('lens',), channels=8, activation='relu'),
        Layer(name='two', op='conv', inputs=('stem',), channels=8, groups=2),
        Layer(name='free', op='conv', inputs=('two',), channels=8, activation='relu'),
        Layer(name='wide', op='conv', inputs=('free',), channels=16, groups=8),
        Layer(name='end', op='conv', inputs=('wide',), channels=8)))
    assert [group.name for group in channel_groups(spec)] == ['end']
    smaller, pruned = remove_channels(spec, make_weights(spec), {'end': np.array([0, 7])})
    np.testing.assert_allclose(
        describe(smaller, pruned),
        describe(spec, mask_channels(spec, make_weights(spec), {'end': np.array([0, 7])})),
        atol=1e-5)


def test_multiply_adds_are_those_of_the_loop() -> None:
    """Every product of the tiny network, counted by hand."""
    counts = multiply_adds(make_tiny_spec(), 64, 48)
    # stem: 16x12 pixels, 5x5 of 3 channels; pool halves; deep: 3x3 of one channel.
    assert counts == {
        'stem': 16 * 12 * 8 * 25 * 3, 'deep': 8 * 6 * 8 * 9, 'point': 8 * 6 * 8 * 8,
        'netvlad': 2 * (8 * 6) * 4 * 8 + 4 * 8, 'projection': 16 * 4 * 8}


def test_multiply_adds_of_vgg16_are_the_published_ones() -> None:
    """VGG16's convolutions take 15.35 G multiplications at 224x224 (pool5 multiplies nothing)."""
    counts = multiply_adds(make_spec('vgg16'), 224, 224)
    trunk = sum(count for name, count in counts.items() if name.startswith('features.'))
    assert trunk == 15_346_630_656
    with pytest.raises(ConfigError, match='too small'):
        multiply_adds(make_spec('vgg16'), 8, 8)


@pytest.mark.parametrize('criterion', ['l1', 'l2', 'flow'])
@pytest.mark.parametrize('name', TRUNKS)
def test_a_channel_of_zeros_matters_least(name: str, criterion: str) -> None:
    """Criteria on weights see in every group which channel does nothing."""
    spec = make_spec(name)
    groups = channel_groups(spec)
    zeroed = mask_channels(spec, make_weights(spec), {
        group.name: np.setdiff1d(np.arange(group.channels), [3]) for group in groups})
    found = importances(spec, zeroed, groups, criterion)
    for group in groups:
        scores = found[group.name]
        assert scores.shape == (group.channels,)
        assert scores[3] == 0.0 < np.delete(scores, 3).min()


def test_flow_does_not_change_when_scale_moves_between_layers() -> None:
    """A channel twice as large that is read half as strongly is the same network."""
    spec = make_spec('vgg16')
    weights = make_weights(spec)
    group = channel_groups(spec)[1]
    moved = dict(weights)
    gain = np.linspace(0.5, 2.0, group.channels).astype(np.float32)
    made, read = group.producers[0], group.consumers[0]
    moved[f'{made}.weight'] = weights[f'{made}.weight'] * gain[:, None, None, None]
    moved[f'{made}.bias'] = weights[f'{made}.bias'] * gain
    moved[f'{read}.weight'] = weights[f'{read}.weight'] / gain[None, :, None, None]

    def ranks_by(criterion: str) -> list[NDArray[np.int64]]:
        return [np.argsort(importances(spec, tensors, [group], criterion)[group.name])
                for tensors in (weights, moved)]

    np.testing.assert_array_equal(*ranks_by('flow'))
    ranks = ranks_by('l2')
    assert (ranks[0] != ranks[1]).any()


def test_measured_activations_are_those_of_the_layers() -> None:
    """The values are means of what comes out of a layer, its activation included."""
    spec = make_tiny_spec()
    network = VprNetwork(spec).eval()
    network.load_tensors(make_weights(spec))
    images = torch.randn(5, 3, 48, 64, generator=torch.Generator().manual_seed(2))
    measured = mean_activations(network, images.split(2))
    cut = VprNetwork(replace(spec, layers=spec.layers[:1])).eval()
    cut.load_tensors({name: make_weights(spec)[name] for name in ('stem.weight', 'stem.bias')})
    with torch.inference_mode():
        expected = cut.features(images).abs().mean(dim=(0, 2, 3)).numpy()
    np.testing.assert_allclose(measured['stem'], expected, rtol=1e-5)
    assert set(measured) == {'stem', 'deep', 'point'}
    scores, = importances(spec, {}, channel_groups(spec), 'activation', measured).values()
    assert scores.mean() == pytest.approx(1.0)


def test_taylor_estimates_what_removing_a_channel_does_to_the_loss() -> None:
    """For a loss that is linear in the last layer the estimate is exact."""
    spec = make_tiny_spec()
    weights = make_weights(spec)
    network = VprNetwork(spec).eval()
    network.load_tensors(weights)
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(3))

    def loss(net: VprNetwork, batch: torch.Tensor) -> torch.Tensor:
        return net.features(batch).mean()

    measured = taylor_scores(network, [images], loss)
    for channel in (0, 5):
        silent = VprNetwork(spec).eval()
        silent.load_tensors(weights)
        with torch.no_grad():
            silent.convs['point'].weight[channel] = 0.0
            silent.convs['point'].bias[channel] = 0.0
            change = float(loss(network, images) - loss(silent, images))
        assert measured['point'][channel] == pytest.approx(change ** 2, rel=1e-3)
    scores, = importances(spec, weights, channel_groups(spec), 'taylor', measured).values()
    np.testing.assert_allclose(scores, measured['stem'] + measured['deep'] + measured['point'])


def test_descriptor_change_finds_the_channels_that_move_descriptors() -> None:
    """Where a distillation loss sees nothing, the estimate follows the true change."""
    spec = make_spec('resnet18')
    weights = make_weights(spec)
    network = VprNetwork(spec).eval()
    network.load_tensors(weights)
    group = next(group for group in channel_groups(spec) if group.name == 'layer3.1.conv1')
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    scores = taylor_scores(network, [images] * 24, descriptor_change())['layer3.1.conv1']
    full = describe(spec, weights)
    chosen = np.argsort(scores)[::16]
    moved = [np.square(describe(spec, mask_channels(spec, weights, {
        group.name: np.setdiff1d(np.arange(group.channels), [channel])})) - full).sum()
        for channel in chosen]
    ranks = np.argsort(np.argsort(moved))
    assert np.corrcoef(ranks, np.arange(len(ranks)))[0, 1] > 0.6


def test_values_that_are_not_finite_rank_no_channels() -> None:
    """As a network whose training broke gives them."""
    spec = make_tiny_spec()
    measured = dict.fromkeys(('stem', 'deep', 'point'), np.full(8, np.nan))
    with pytest.raises(ConfigError, match='not finite'):
        importances(spec, make_weights(spec), channel_groups(spec), 'taylor', measured)


def test_the_same_share_of_every_layer() -> None:
    """Counts follow the share and the grain; the best channels stay, in their order."""
    spec = make_spec('vgg16')
    scores = {group.name: np.random.default_rng(1).random(group.channels)
              for group in channel_groups(spec)}
    keep = keep_per_layer(spec, scores, 0.3)
    assert {name: len(rows) for name, rows in keep.items()} == {
        name: {64: 24, 128: 40, 256: 80, 512: 160}[len(values)]
        for name, values in scores.items()}
    for name, rows in keep.items():
        assert (np.diff(rows) > 0).all()
        assert scores[name][rows].min() > np.delete(scores[name], rows).max()
    own = keep_per_layer(spec, scores, 0.51, multiple_of=1)
    assert len(own['features.0']) == 33


def channels_of(names: Collection[str]) -> Cost:
    """Return what counts the channels of some groups."""
    return lambda spec: sum(
        group.channels for group in channel_groups(spec) if group.name in names)


def multiplications(spec: NetworkSpec) -> int:
    """Return those of a small image."""
    return sum(multiply_adds(spec, 64, 48).values())


@pytest.mark.parametrize('share', [0.9, 0.5, 0.2])
def test_a_global_threshold_reaches_its_target(share: float) -> None:
    """What stays is within the target, not far below it, and above one threshold."""
    spec = make_spec('mobilenet_v2')
    groups = channel_groups(spec)
    scores = importances(spec, make_weights(spec), groups, 'l2')
    for cost in (channels_of(scores), multiplications):
        keep = keep_globally(spec, scores, share, cost, multiple_of=1)
        smaller = resized(spec, {name: len(rows) for name, rows in keep.items()})
        reached = cost(smaller) / cost(spec)
        assert share - 0.02 < reached <= share
        lowest = min(scores[name][rows].min() / scores[name].mean()
                     for name, rows in keep.items() if len(rows) > 1)
        gone = max(np.delete(scores[name], rows).max() / scores[name].mean()
                   for name, rows in keep.items() if len(rows) < len(scores[name]))
        assert gone < lowest


def test_global_pruning_takes_from_the_layers_that_matter_least() -> None:
    """Without normalising, the group of small scores goes first, down to its minimum."""
    spec = make_spec('vgg16')
    scores = {group.name: np.full(group.channels, 1.0) + np.linspace(0, 0.1, group.channels)
              for group in channel_groups(spec)}
    scores['features.28'] /= 100.0
    total = sum(map(len, scores.values()))
    keep = keep_globally(
        spec, scores, 1 - 400 / total, channels_of(scores), normalise=False)
    gone = {name: len(values) - len(keep[name]) for name, values in scores.items()}
    assert gone.pop('features.28') == 400
    assert set(gone.values()) == {0}
    keep = keep_globally(spec, scores, 0.7, channels_of(scores), normalise=False)
    assert len(keep['features.28']) == 8
    assert all(len(rows) % 8 == 0 for rows in keep.values())


def test_a_scan_measures_one_at_a_time() -> None:
    """Losses are against the whole, never fall with the share, and progress counts to the end."""
    seen: list[tuple[int, int]] = []
    scores = {'a': {0.5: 0.8, 0.7: 0.9, 0.9: 0.1}, 'b': {0.5: 1.2, 0.7: 1.0, 0.9: 0.9}}
    table = scan(scores, (0.5, 0.7, 0.9), lambda name, share: scores[name][share], whole=1.0,
                 report=lambda done, total: seen.append((done, total)))
    assert list(table) == list(scores)
    assert all([share for share, _ in rows] == [0.5, 0.7, 0.9] for rows in table.values())
    assert [loss for _, loss in table['a']] == pytest.approx([0.2, 0.2, 0.9])  # noise rose
    assert [loss for _, loss in table['b']] == pytest.approx([0.0, 0.0, 0.1])
    assert seen == [(done, 6) for done in range(1, 7)]


def test_plan_by_sensitivity_spares_what_is_sensitive() -> None:
    """The group that costs nothing is pruned hard, the one that costs most hardly."""
    spec = make_spec('vgg16')
    scores = {name: np.ones(64) for name in ('features.0', 'features.2')}
    table = {'features.0': [(0.5, 0.4), (0.75, 0.8)], 'features.2': [(0.5, 0.0), (0.75, 0.01)]}
    keep = keep_by_sensitivity(spec, scores, table, 0.6, channels_of(scores))
    assert len(keep['features.0']) >= 56
    assert len(keep['features.2']) <= 24
    assert sum(map(len, keep.values())) <= 0.6 * 128


@pytest.mark.parametrize(('call', 'message'), [
    (lambda spec, scores: keep_globally(spec, {}, 0.5, multiplications), 'no scores'),
    (lambda spec, scores: keep_globally(
        spec, scores, 0.1, channels_of(scores)), 'cannot get below'),
    (lambda spec, scores: scan(scores, [0.5], lambda *_: float('nan'), whole=1.0),
     'finite number'),
])
def test_impossible_plans_are_refused(call: object, message: str) -> None:
    """Every error says what was found and what is needed."""
    spec = make_tiny_spec()
    with pytest.raises(ConfigError, match=message):
        call(spec, {'stem': np.arange(8.0)})
