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


"""The bag of binary words of benchmarks/peers.py against hand-computed numbers."""

from __future__ import annotations

from benchmarks import peer_words as words
from benchmarks.peer_features import as_signs
import numpy as np
import pytest


def near_copies(
    rng: np.random.Generator, centres: np.ndarray, copies: int, flips: int
) -> np.ndarray:
    """Return descriptors that differ from a centre in a few bits, uint8, centre by centre."""
    bits = np.repeat(np.unpackbits(centres, axis=1), copies, axis=0)
    for row in bits:
        row[rng.permutation(bits.shape[1])[:flips]] ^= 1
    return np.packbits(bits, axis=1)


def test_a_vocabulary_tells_groups_of_descriptors_apart(rng: np.random.Generator) -> None:
    """Nine groups, three children on two levels; each group keeps together."""
    centres = rng.integers(0, 256, (9, 32), np.uint8)
    descriptors = near_copies(rng, centres, copies=20, flips=12)
    vocabulary = words.grow_vocabulary(descriptors, branching=3, depth=2, seed=1)
    assert vocabulary.words == 9
    found = vocabulary.word_of(descriptors).reshape(9, 20)
    assert (found == found[:, :1]).all()
    fresh = vocabulary.word_of(near_copies(rng, centres, copies=1, flips=12))
    assert fresh.tolist() == found[:, 0].tolist()


def test_a_word_is_found_by_going_to_the_nearer_child(rng: np.random.Generator) -> None:
    """Against a walk down the tree with Hamming distances, one descriptor at a time."""
    descriptors = rng.integers(0, 256, (300, 8), np.uint8)
    vocabulary = words.grow_vocabulary(descriptors, branching=3, depth=3)
    bits = np.unpackbits(descriptors, axis=1)
    for row, word in zip(bits[:40], vocabulary.word_of(descriptors[:40])):
        node = 0
        for level in vocabulary.levels:
            distances = [int((row != (level[3 * node + child] > 0)).sum()) for child in range(3)]
            node = 3 * node + distances.index(min(distances))
        assert node == word


def test_k_majority_takes_the_majority_of_each_bit() -> None:
    """Of three vectors in one cluster; a tie counts as 1."""
    signs = np.array([[1, 1, -1, -1], [1, -1, -1, 1], [1, 1, -1, 1]], np.float32)
    centres, members = words.k_majority(signs, 1, np.random.default_rng(0))
    assert centres.tolist() == [[1, 1, -1, 1]]
    assert members.tolist() == [0, 0, 0]
    tie, _ = words.k_majority(signs[:2], 1, np.random.default_rng(0))
    assert tie.tolist() == [[1, 1, -1, 1]]


def test_a_tree_of_few_descriptors_repeats_centres() -> None:
    """Nothing falls into the repetitions; every descriptor still finds a word."""
    descriptors = np.array([[0], [255]], np.uint8)
    vocabulary = words.grow_vocabulary(descriptors, branching=4, depth=2)
    found = vocabulary.word_of(descriptors)
    assert len(set(found.tolist())) == 2
    assert as_signs(descriptors)[0].tolist() == vocabulary.levels[-1][found[0]].tolist()


def test_tf_idf_by_hand() -> None:
    """
    Three images; word 0 is in all, word 1 in one, word 2 in two, word 3 in none.

    Idf 0, ln 3, ln 1.5, 0. An image with words 0, 1, 2, 2: weights ln 3 and 2 ln 1.5.
    """
    images = [np.array([0, 0, 1]), np.array([0, 2, 2]), np.array([0, 2])]
    idf = words.inverse_document_frequency(images, 4)
    np.testing.assert_allclose(idf, [0.0, np.log(3.0), np.log(1.5), 0.0], rtol=1e-6)
    bag = words.bag_of_words(np.array([2, 1, 0, 2]), idf)
    total = np.log(3.0) + 2 * np.log(1.5)
    np.testing.assert_allclose(
        bag, [0.0, np.log(3.0) / total, 2 * np.log(1.5) / total, 0.0], rtol=1e-6)


def test_an_image_without_words_is_like_nothing() -> None:
    """Its weights are zeros, and so are its scores."""
    bag = words.bag_of_words(np.zeros(0, np.int64), np.ones(3, np.float32))
    assert bag.tolist() == [0.0, 0.0, 0.0]
    assert words.InvertedFile(np.eye(3, dtype=np.float32)).scores(bag).tolist() == [0.0] * 3


def test_the_inverted_file_gives_the_l1_score(rng: np.random.Generator) -> None:
    """Equal to 1 - |a - b|_1 / 2 of all pairs, as DBoW2 defines it; 1 for itself."""
    bags = rng.random((7, 30)).astype(np.float32) * (rng.random((7, 30)) < 0.3)
    bags = (bags / bags.sum(axis=1, keepdims=True)).astype(np.float32)
    inverted = words.InvertedFile(bags)
    for row, bag in enumerate(bags):
        expected = 1.0 - np.abs(bags - bag).sum(axis=1) / 2.0
        scores = inverted.scores(bag)
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        assert scores[row] == pytest.approx(1.0, abs=1e-6)
        assert scores.argmax() == row
