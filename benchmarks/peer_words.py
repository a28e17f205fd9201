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


"""
A bag of binary words as in DBoW2 (Galvez-Lopez and Tardos, T-RO 2012), in NumPy.

No Python package of it on PyPI is kept (the last releases are of 2019 to 2022), and OpenCV 5 has
no bag of words in its main modules any more. The words are the leaves of a tree grown by k-means
in Hamming space; images are compared through an inverted file by the L1 score of their tf-idf
weights, which is the sum of the smaller weights of the words they share.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peer_features import as_signs
from benchmarks.peer_features import ByteArray
from benchmarks.peer_features import FloatArray
import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
_ITERATIONS = 10


@dataclass(frozen=True)
class Vocabulary:
    """
    A complete tree of binary centres.

    :param levels: for each level the centres of its nodes as +1 and -1, int8
        ``(branching ** (level + 1), bits)``; children of node n begin at ``n * branching``
    :param branching: children of a node
    """

    levels: tuple[NDArray[np.int8], ...]
    branching: int

    @property
    def words(self) -> int:
        """Number of leaves."""
        return len(self.levels[-1])

    def word_of(self, descriptors: ByteArray) -> IntArray:
        """
        Return the leaf each descriptor falls into, from the root to the nearer child each time.

        :param descriptors: uint8, ``(n, bits / 8)``
        :returns: ``(n,)``
        """
        signs = as_signs(descriptors)
        node = np.zeros(len(signs), np.int64)
        children = np.arange(self.branching)
        for centres in self.levels:
            candidates = node[:, np.newaxis] * self.branching + children          # (n, k)
            near = np.einsum('nkb,nb->nk', centres[candidates].astype(np.float32), signs)
            node = candidates[np.arange(len(node)), near.argmax(axis=1)]
        return node


def grow_vocabulary(
    descriptors: ByteArray, *, branching: int, depth: int, seed: int = 0
) -> Vocabulary:
    """
    Cluster binary descriptors level by level.

    A node with fewer descriptors than children repeats one of its centres; nothing falls into
    the repetitions, because of equally near children the first is taken.

    :param descriptors: uint8, ``(N, bits / 8)``, at least one
    :param branching: children of a node, 10 in ORB-SLAM
    :param depth: levels; there are ``branching ** depth`` words
    """
    rng = np.random.default_rng(seed)
    signs = as_signs(descriptors).astype(np.int8)
    parts: list[IntArray] = [np.arange(len(signs))]
    levels = []
    for _ in range(depth):
        centres = np.ones((len(parts), branching, signs.shape[1]), np.int8)
        below: list[IntArray] = []
        for node, rows in enumerate(parts):
            members = np.zeros(len(rows), np.int64)
            if len(rows):
                centres[node], members = k_majority(
                    signs[rows].astype(np.float32), branching, rng)
            below += [rows[members == child] for child in range(branching)]
        levels.append(centres.reshape(-1, signs.shape[1]))
        parts = below
    return Vocabulary(tuple(levels), branching)


def k_majority(
    signs: FloatArray, clusters: int, rng: np.random.Generator
) -> tuple[NDArray[np.int8], IntArray]:
    """
    Cluster +1/-1 vectors by Hamming distance; a centre is the majority of each bit.

    :param signs: ``(n, bits)``, n >= 1
    :returns: centres ``(clusters, bits)`` and the centre of each vector ``(n,)``; a majority of
        none counts as +1
    """
    chosen = rng.permutation(len(signs))[:clusters]
    centres = signs[np.resize(chosen, clusters)]
    members = (signs @ centres.T).argmax(axis=1)
    for _ in range(_ITERATIONS):
        joined = (members[:, np.newaxis] == np.arange(clusters)).astype(np.float32)
        sums = joined.T @ signs
        # A centre nobody belongs to stays where it is.
        majority = np.where(sums >= 0, np.float32(1), np.float32(-1))
        centres = np.where(joined.any(axis=0)[:, np.newaxis], majority, centres)
        before, members = members, (signs @ centres.T).argmax(axis=1)
        if np.array_equal(before, members):
            break
    return centres.astype(np.int8), members


def inverse_document_frequency(images: list[IntArray], words: int) -> FloatArray:
    """
    Return ln(N / n) of each word, n the images it occurs in; 0 for a word without any.

    :param images: for each of N images the words of its descriptors
    """
    counts = np.zeros(words)
    for image in images:
        counts[np.unique(image)] += 1
    found = np.log(len(images) / np.maximum(counts, 1.0))
    return np.where(counts > 0, found, 0.0).astype(np.float32)


def bag_of_words(words: IntArray, idf: FloatArray) -> FloatArray:
    """
    Return how often each word occurs, times its idf, with a sum of 1 (zeros without words).

    :param words: of the descriptors of one image, ``(n,)``
    :param idf: weight of each word, ``(words,)``
    """
    weights = np.bincount(words, minlength=len(idf)) * idf
    return np.asarray(weights / max(float(weights.sum()), 1e-12), np.float32)


class InvertedFile:
    """
    For each word, the places it was seen in, with its weight there.

    :param bags: of the places, ``(R, words)``
    """

    def __init__(self, bags: FloatArray) -> None:
        words, places = np.nonzero(bags.T)
        self._places = places.astype(np.int32)
        self._weights = bags.T[words, places]
        self._start = np.searchsorted(words, np.arange(bags.shape[1] + 1))
        self._count = len(bags)

    def scores(self, bag: FloatArray) -> FloatArray:
        """
        Return ``1 - |a - b|_1 / 2`` to every place, ``(R,)``, in [0, 1].

        :param bag: tf-idf weights of the query, ``(words,)``, with a sum of 1
        """
        scores = np.zeros(self._count, np.float32)
        for word in np.flatnonzero(bag).tolist():
            here = slice(self._start[word], self._start[word + 1])
            # A place stands once in the list of a word, so indexed addition is safe.
            scores[self._places[here]] += np.minimum(self._weights[here], bag[word])
        return scores
