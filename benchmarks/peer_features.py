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


"""Image descriptors a user would pick instead of a learned one, as pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.images.pixels import resize
from vpr_compressed.records import ImageArray

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

#: Local features are found in images whose longer side is this many pixels.
LONGER_SIDE = 640
#: ORB as in ORB-SLAM2: a thousand points, and its lower FAST threshold, so that night has some.
ORB_POINTS, ORB_THRESHOLD, ORB_BYTES = 1000, 7, 32
#: HOG of a square thumbnail: cells of 16 pixels, blocks of 2x2 cells, 9 directions.
HOG_SIDE, HOG_CELL, HOG_BLOCK, HOG_DIRECTIONS = 128, 16, 2, 9
TINY_WIDTH, TINY_HEIGHT = 32, 24


def grey(image: ImageArray) -> ByteArray:
    """
    Return an image without its colours.

    :param image: uint8 RGB, ``(H, W, 3)``
    :returns: uint8, ``(H, W)``
    """
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def at_feature_size(image: ImageArray) -> ByteArray:
    """Return a grey image whose longer side has :data:`LONGER_SIDE` pixels, sides in ratio."""
    rows, columns = image.shape[:2]
    scale = LONGER_SIDE / max(rows, columns)
    return grey(resize(image, max(1, round(scale * columns)), max(1, round(scale * rows))))


def orb_extractor() -> Callable[[ImageArray], ByteArray]:
    """Return a function that gives the ORB descriptors of an image, uint8 ``(n, 32)``."""
    orb = cv2.ORB_create(nfeatures=ORB_POINTS, fastThreshold=ORB_THRESHOLD)

    def extract(image: ImageArray) -> ByteArray:
        found: Any = orb.detectAndCompute(at_feature_size(image), None)[1]
        return np.zeros((0, ORB_BYTES), np.uint8) if found is None else np.asarray(found, np.uint8)
    return extract


def sift_extractor() -> Callable[[ImageArray], FloatArray]:
    """Return a function that gives the RootSIFT descriptors of an image, float ``(n, 128)``."""
    sift = cv2.SIFT_create()

    def extract(image: ImageArray) -> FloatArray:
        found: Any = sift.detectAndCompute(at_feature_size(image), None)[1]
        return np.zeros((0, 128), np.float32) if found is None else root_sift(found)
    return extract


def root_sift(features: FloatArray) -> FloatArray:
    """
    Return SIFT descriptors whose inner product is the Hellinger kernel of the given ones.

    Arandjelovic and Zisserman, CVPR 2012: divide by the sum, take the square root.

    :param features: not negative, ``(n, 128)``
    :returns: unit rows (zero rows stay), ``(n, 128)``
    """
    sums = features.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(features / np.maximum(sums, 1e-12)), np.float32)


def as_signs(descriptors: ByteArray) -> FloatArray:
    """
    Return the bits of binary descriptors as +1 and -1: inner product = bits - 2 Hamming.

    :param descriptors: uint8, ``(n, B)``
    :returns: float, ``(n, 8 B)``
    """
    return 2.0 * np.unpackbits(descriptors, axis=1).astype(np.float32) - 1.0


def vlad(features: FloatArray, centers: FloatArray, *, power: float = 0.5) -> FloatArray:
    """
    Aggregate local features: residuals to the nearest centre, summed for each centre.

    Jegou et al., CVPR 2010; then the signed power of each value (0.5: square root, Jegou et
    al., PAMI 2012), each cluster to unit norm (Arandjelovic and Zisserman, CVPR 2013), the
    whole to unit norm.

    :param features: ``(n, C)``; none at all give zeros
    :param centers: ``(K, C)``
    :param power: 1 leaves the values as they are
    :returns: ``(K * C,)``, cluster-major
    """
    scores = 2.0 * features @ centers.T - np.square(centers).sum(axis=1)       # (n, K)
    members = np.zeros(scores.shape, np.float32)
    members[np.arange(len(features)), scores.argmax(axis=1)] = 1.0
    residuals = members.T @ features - members.sum(axis=0)[:, np.newaxis] * centers
    residuals = np.sign(residuals) * np.abs(residuals) ** power                # (K, C)
    return unit(unit(residuals).ravel())


def gem(features: FloatArray, p: float = 3.0) -> FloatArray:
    """
    Pool a feature map by the generalised mean (Radenovic et al., PAMI 2019).

    :param features: ``(C, h, w)``; what is below 1e-6 counts as that
    :param p: 1 is the mean; the larger, the nearer to the maximum
    :returns: unit norm, ``(C,)``
    """
    values = np.maximum(features, 1e-6).astype(np.float64)
    return unit(np.asarray((values ** p).mean(axis=(1, 2)) ** (1.0 / p), np.float32))


def hog_thumbnail(image: ImageArray) -> FloatArray:
    """
    Return the histograms of gradients of a grey thumbnail (Dalal and Triggs, CVPR 2005).

    :returns: unit norm, ``(1764,)``; zeros for an image of one colour
    """
    from skimage.feature import hog

    small = grey(resize(image, HOG_SIDE, HOG_SIDE))
    return unit(np.asarray(hog(
        small, orientations=HOG_DIRECTIONS, pixels_per_cell=(HOG_CELL, HOG_CELL),
        cells_per_block=(HOG_BLOCK, HOG_BLOCK), block_norm='L2-Hys'), np.float32))


def tiny_thumbnail(image: ImageArray) -> FloatArray:
    """
    Return a grey thumbnail less its mean; a cosine of two is their correlation.

    :returns: unit norm, ``(768,)``; zeros for an image of one colour
    """
    small = grey(resize(image, TINY_WIDTH, TINY_HEIGHT)).astype(np.float32)
    return unit((small - small.mean()).ravel())


def project(vectors: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """Return ``unit(W x + b)`` of one vector ``(V,)`` or several ``(N, V)``."""
    return unit(np.asarray(vectors @ weight.T + bias, np.float32))


def unit(vectors: FloatArray) -> FloatArray:
    """Return vectors with unit norm along the last axis; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)
