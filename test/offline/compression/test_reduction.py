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

"""Shorter descriptors and fewer channels in front of NetVLAD, against the full network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest
from tiny_model import make_tiny_model
from tiny_model import make_tiny_spec
import torch

from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import Layer
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.offline.compression.reduction import reduce_channels
from vpr_compressed.offline.compression.reduction import truncate_whitening
from vpr_compressed.offline.compression.reduction import vlad_basis
from vpr_compressed.offline.network.network import VprNetwork

Weights = dict[str, NDArray[np.float32]]
CHANNELS, TRUE_RANK, CLUSTERS = 24, 6, 5


def tiny() -> tuple[NetworkSpec, Weights]:
    """Return the tiny network and its float weights."""
    model = make_tiny_model()
    return model.spec, {name: model.float_tensor(name) for name in model.tensors}


def network(spec: NetworkSpec, weights: Weights) -> VprNetwork:
    """Return the torch network with weights."""
    result = VprNetwork(spec).eval()
    result.load_tensors(weights)
    return result


def describe(spec: NetworkSpec, weights: Weights) -> NDArray[np.float32]:
    """Return the descriptors of three images of noise."""
    images = torch.randn(3, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return np.asarray(network(spec, weights)(images).numpy())


def low_rank(noise: float) -> tuple[NetworkSpec, Weights, NDArray[np.float32]]:
    """Return a network on features that lie in 6 of 24 dimensions, but for noise."""
    random = np.random.default_rng(4)
    spec = NetworkSpec(trunk='flat', clusters=CLUSTERS, dimension=8, layers=(
        Layer(name='only', op='conv', inputs=(INPUT,), channels=CHANNELS, kernel=3, padding=1),))
    span = np.linalg.qr(random.standard_normal((CHANNELS, TRUE_RANK)))[0]
    weights = {name: random.standard_normal(shape).astype(np.float32)
               for name, shape in spec.tensor_shapes().items()}
    rows = weights['only.weight'].reshape(CHANNELS, -1)
    inside = span @ span.T @ rows + noise * rows
    weights['only.weight'] = inside.reshape(weights['only.weight'].shape).astype(np.float32)
    weights['only.bias'] = (span @ span.T @ weights['only.bias']).astype(np.float32)
    weights['netvlad.centers'] = (0.3 * weights['netvlad.centers'] @ span @ span.T).astype(
        np.float32)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        features = network(spec, weights).features(images).numpy()              # (B, C, H, W)
    flat = features.transpose(0, 2, 3, 1).reshape(-1, CHANNELS)
    return spec, weights, flat / np.linalg.norm(flat, axis=1, keepdims=True)


def feature_basis(features: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], float]:
    """Return the basis where one cluster without a centre makes every feature a residual."""
    return vlad_basis(features, np.zeros((1, features.shape[1])), features, rank)


def agreement(spec: NetworkSpec, weights: Weights, basis: NDArray[np.float32],
              kept_energy: float = 1.0) -> float:
    """Return the mean cosine between descriptors of the reduced and the full network."""
    full = describe(spec, weights)
    reduced = describe(*reduce_channels(spec, weights, basis, kept_energy=kept_energy))
    return float((full * reduced).sum(axis=1).mean())


def test_truncated_whitening_equals_a_truncated_descriptor() -> None:
    """Cutting rows of the projection is cutting the descriptor before its norm."""
    spec, weights = tiny()
    full = describe(spec, weights)
    small_spec, small = truncate_whitening(spec, weights, 5)
    assert small_spec.dimension == 5
    assert {name: value.shape for name, value in small.items()} == small_spec.tensor_shapes()
    cut = full[:, :5] / np.linalg.norm(full[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(describe(small_spec, small), cut, atol=1e-6)


@pytest.mark.parametrize('dimension', [0, 17, -3])
def test_a_descriptor_cannot_grow(dimension: int) -> None:
    """Sizes outside 1 to the present one are refused."""
    with pytest.raises(ConfigError, match='16 dimensions cannot be cut'):
        truncate_whitening(*tiny(), dimension)


def test_a_complete_basis_gives_the_same_descriptors(rng: np.random.Generator) -> None:
    """Rotating the features changes nothing: NetVLAD's norms are rotation-invariant."""
    spec, weights = tiny()
    basis = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    reduced_spec, reduced = reduce_channels(spec, weights, basis)
    assert reduced_spec.layers[-1] == Layer(
        name='reduce', op='conv', inputs=('sum',), channels=8)
    assert {name: value.shape for name, value in reduced.items()} == reduced_spec.tensor_shapes()
    assert all(value.dtype == np.float32 for value in reduced.values())
    np.testing.assert_allclose(
        describe(reduced_spec, reduced), describe(spec, weights), atol=1e-5)


def test_a_basis_of_the_true_rank_loses_nothing() -> None:
    """Features that span 6 dimensions need 6 channels."""
    spec, weights, features = low_rank(noise=0.0)
    basis, kept = feature_basis(features, TRUE_RANK)
    assert kept == pytest.approx(1.0, abs=1e-6)
    assert agreement(spec, weights, basis, kept) == pytest.approx(1.0, abs=1e-5)


def test_a_smaller_basis_degrades_gracefully() -> None:
    """More channels keep more energy and agree better with the full descriptors."""
    spec, weights, features = low_rank(noise=0.2)
    found = []
    for rank in (1, 3, 6, 12, 24):
        basis, kept = feature_basis(features, rank)
        found.append((kept, agreement(spec, weights, basis, kept)))
    energies, cosines = zip(*found)
    assert list(energies) == sorted(energies)
    assert cosines[0] < cosines[2] < cosines[4]
    assert cosines[2] > 0.9
    assert found[-1] == pytest.approx((1.0, 1.0), abs=1e-5)


def test_kept_energy_makes_up_for_the_stretching() -> None:
    """With the length of the reduced features known, the centres stay where they were."""
    spec, weights, features = low_rank(noise=0.5)
    basis, kept = feature_basis(features, TRUE_RANK)
    assert kept < 0.95
    assert agreement(spec, weights, basis, kept) > agreement(spec, weights, basis)


def test_feature_basis_is_that_of_the_svd(rng: np.random.Generator) -> None:
    """The rows span what numpy's SVD finds; signs do not depend on the library."""
    features = (rng.standard_normal((40_000, 12)) * np.linspace(3.0, 0.1, 12)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    basis, kept = feature_basis(features, 4)
    _, values, rows = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(basis @ rows[:4].T), np.eye(4), atol=1e-3)
    assert kept == pytest.approx((values[:4] ** 2).sum() / (values ** 2).sum(), abs=1e-5)
    assert (basis[np.arange(4), np.abs(basis).argmax(axis=1)] > 0).all()


def test_bases_on_residuals_ignore_what_all_features_share(rng: np.random.Generator) -> None:
    """A large common component is the centre; only the small differences reach a descriptor."""
    features = 0.1 * rng.standard_normal((500, 4)) + np.array([5.0, 0.0, 0.0, 0.0])
    features[:, 0] = 5.0
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    center = features.mean(axis=0, keepdims=True)
    plain, _ = feature_basis(features, 1)
    assert abs(plain[0, 0]) > 0.99
    by_vlad, _ = vlad_basis(features - center, np.zeros((1, 4)), features, 1)
    assert abs(by_vlad[0, 0]) < 0.1


def test_the_directions_of_the_assignment_are_kept(rng: np.random.Generator) -> None:
    """A direction that decides between clusters stays, however short the residuals in it are."""
    features = rng.standard_normal((200, 4)) * np.array([1.0, 0.9, 0.8, 0.01])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weight = np.array([[0.0, 0.0, 0.0, 50.0], [0.0, 0.0, 0.0, -50.0]])
    basis, _ = vlad_basis(np.tile(features, 2), weight, features, 3)
    assert np.square(basis[:, 3]).sum() == pytest.approx(1.0, abs=0.05)
    basis, _ = vlad_basis(np.tile(features, 2), np.zeros_like(weight), features, 3)
    assert np.square(basis[:, 3]).sum() == pytest.approx(0.0, abs=0.05)


def test_reducing_twice_is_refused() -> None:
    """The second layer would have the first one's name."""
    reduced = reduce_channels(*tiny(), np.eye(4, 8))
    with pytest.raises(ConfigError, match="layer 'reduce' already"):
        reduce_channels(*reduced, np.eye(2, 4))


@pytest.mark.parametrize('rank', [0, 9])
def test_impossible_ranks_are_refused(rank: int) -> None:
    """There are eight channels."""
    with pytest.raises(ConfigError, match=f'8 channels cannot be reduced to {rank}'):
        feature_basis(np.ones((10, make_tiny_spec().feature_channels)), rank)
