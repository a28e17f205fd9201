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


"""The descriptors of benchmarks/peers.py against slow references and on made-up images."""

from __future__ import annotations

from benchmarks import peer_features as features
import cv2
import numpy as np
import pytest

from vpr_compressed.records import ImageArray


def views(rng: np.random.Generator) -> list[ImageArray]:
    """Return six places: blots of random colours, large ones and small ones."""
    return [np.asarray(sum(
        cv2.resize(rng.uniform(0.0, 128.0, (rows, 4 * rows // 3, 3)), (480, 360))
        for rows in (9, 36))).astype(np.uint8) for _ in range(6)]


def seen_again(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Return a darker, noisy view of the same place, moved by some pixels."""
    moved = np.roll(image, (4, -6), axis=(0, 1)).astype(float)
    return np.clip(0.8 * moved + rng.normal(0.0, 6.0, image.shape), 0, 255).astype(np.uint8)


def slow_vlad(local: np.ndarray, centers: np.ndarray, power: float) -> np.ndarray:
    """Aggregate one feature and one value at a time."""
    sums = np.zeros(centers.shape)
    for feature in local:
        nearest = min(range(len(centers)),
                      key=lambda center: float(np.linalg.norm(feature - centers[center])))
        sums[nearest] += feature - centers[nearest]
    for row in sums:
        for column, value in enumerate(row):
            row[column] = np.sign(value) * abs(value) ** power
        if np.linalg.norm(row) > 0:
            row[:] /= np.linalg.norm(row)
    return (sums / np.linalg.norm(sums)).ravel()


@pytest.mark.parametrize('power', [0.5, 1.0])
def test_vlad_equals_a_slow_reference(rng: np.random.Generator, power: float) -> None:
    """Cluster-major, each cluster and the whole of unit norm; an empty cluster stays zero."""
    local = rng.standard_normal((50, 7)).astype(np.float32)
    centers = np.concatenate([rng.standard_normal((4, 7)), np.full((1, 7), 99.0)])
    found = features.vlad(local, centers.astype(np.float32), power=power)
    np.testing.assert_allclose(found, slow_vlad(local, centers, power), atol=1e-5)
    assert not found.reshape(5, 7)[4].any()
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)


def test_vlad_of_an_image_without_features_is_zero() -> None:
    """A grey wall has no corners and is like nothing."""
    found = features.vlad(np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32))
    assert found.tolist() == [0.0] * 6


def test_gem_is_the_generalised_mean(rng: np.random.Generator) -> None:
    """By hand: (1 + 27) / 2 = 14 to the power of a third; p = 1 is the mean."""
    maps = np.array([[[1.0, 3.0]], [[2.0, 2.0]]], np.float32)
    expected = np.array([14.0 ** (1 / 3), 2.0])
    np.testing.assert_allclose(
        features.gem(maps), expected / np.linalg.norm(expected), rtol=1e-6)
    maps = rng.random((5, 4, 3)).astype(np.float32)
    mean = maps.mean(axis=(1, 2))
    np.testing.assert_allclose(
        features.gem(maps, p=1.0), mean / np.linalg.norm(mean), rtol=1e-5)


def test_root_sift_is_the_hellinger_kernel() -> None:
    """The inner product of two is the sum of the roots of products of their shares."""
    pair = np.array([[1.0, 3.0, 0.0], [2.0, 2.0, 4.0]], np.float32)
    one, other = features.root_sift(pair)
    kernel = np.sqrt(0.25 * 0.25) + np.sqrt(0.75 * 0.25)
    assert float(one @ other) == pytest.approx(kernel, rel=1e-6)
    assert float(one @ one) == pytest.approx(1.0)


def test_signs_turn_hamming_distance_into_an_inner_product(rng: np.random.Generator) -> None:
    """Bits less twice the bits that differ."""
    one, other = rng.integers(0, 256, (2, 32), np.uint8)
    differ = int(np.unpackbits(one ^ other).sum())
    signs = features.as_signs(np.stack([one, other]))
    assert float(signs[0] @ signs[1]) == 256 - 2 * differ


@pytest.mark.parametrize('name', ['tiny_thumbnail', 'hog_thumbnail'])
def test_thumbnails_recognise_a_place_seen_again(
    rng: np.random.Generator, name: str
) -> None:
    """In a darker, noisy view that is moved a little, at another size."""
    if name == 'hog_thumbnail':
        pytest.importorskip('skimage')
    describe = getattr(features, name)
    places = views(rng)
    known = np.stack([describe(place) for place in places])
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1.0, atol=1e-5)
    again = np.stack([describe(seen_again(place, rng)[::2, ::2]) for place in places])
    assert (again @ known.T).argmax(axis=1).tolist() == list(range(6))


@pytest.mark.parametrize('name', ['tiny_thumbnail', 'hog_thumbnail'])
def test_an_image_of_one_colour_gives_zeros(name: str) -> None:
    """And no NaN, which would be like everything."""
    if name == 'hog_thumbnail':
        pytest.importorskip('skimage')
    assert not getattr(features, name)(np.full((60, 80, 3), 90, np.uint8)).any()


@pytest.mark.parametrize('kind', ['orb', 'sift'])
def test_local_features_recognise_a_place_seen_again(
    rng: np.random.Generator, kind: str
) -> None:
    """Aggregated by VLAD with centres taken from the places themselves."""
    binary, sift = features.orb_extractor(), features.sift_extractor()

    def extract(image: ImageArray) -> features.FloatArray:
        return features.as_signs(binary(image)) if kind == 'orb' else sift(image)
    places = views(rng)
    local = [extract(place) for place in places]
    every = np.concatenate(local)
    centers = every[rng.permutation(len(every))[:8]]
    known = np.stack([features.vlad(rows, centers) for rows in local])
    again = np.stack([
        features.vlad(extract(seen_again(place, rng)), centers) for place in places])
    assert (again @ known.T).argmax(axis=1).tolist() == list(range(6))


@pytest.mark.parametrize(('make', 'width'), [('orb_extractor', 32), ('sift_extractor', 128)])
def test_no_corner_gives_no_feature(make: str, width: int) -> None:
    """For none at all, OpenCV returns None."""
    found = getattr(features, make)()(np.full((60, 80, 3), 90, np.uint8))
    assert found.shape == (0, width)


def test_local_features_are_found_at_one_size() -> None:
    """Small images grow and large ones shrink, their sides stay in ratio."""
    assert features.at_feature_size(np.zeros((120, 160, 3), np.uint8)).shape == (480, 640)
    assert features.at_feature_size(np.zeros((1600, 800, 3), np.uint8)).shape == (640, 320)


def test_a_projection_gives_unit_vectors() -> None:
    """Of one descriptor or of many."""
    weight = np.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]], np.float32)
    bias = np.array([0.0, -4.0], np.float32)
    np.testing.assert_allclose(
        features.project(np.array([1.0, 0.0, 9.0], np.float32), weight, bias), [0.6, -0.8])
    many = features.project(np.ones((2, 3), np.float32), weight, bias)
    np.testing.assert_allclose(many, [[1.0, 0.0], [1.0, 0.0]])
