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
How far a student agrees with its teacher on images without labels; pure functions.

Descriptors of the two may differ in size, as after cutting dimensions. Then their cosine has no
meaning, but which images look alike to each still has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import VprError
from vpr_compressed.records import DescriptorArray

#: Descriptors of the same images by teacher and student, float32 at unit length.
_Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
#: Nearest neighbours that are compared.
NEIGHBOURS = 10
#: Rows of a similarity matrix that are held at once.
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class RetrievalAgreement:
    """
    Whether two networks find the same images.

    :param queries: number of images asked for
    :param top1: share of them for which the most similar image is the same, or lies within the
        tolerance
    :param neighbours: mean share of the nearest images that both have in common, in [0, 1]
    :param depth: how many nearest images were compared, :data:`NEIGHBOURS` where there are as many
    """

    queries: int
    top1: float
    neighbours: float
    depth: int


@dataclass(frozen=True, kw_only=True)
class TeacherAgreement:
    """
    Agreement of a student with its teacher.

    :param mean_cosine: between the two descriptors of an image, mean; None if they differ in size
    :param low_cosine: 5th percentile of the same
    :param lowest_cosine: lowest of the same
    :param within: every image asked for among the others of its own stretch
    :param against: every image asked for in a reference part; None if there is none
    """

    mean_cosine: float | None
    low_cosine: float | None
    lowest_cosine: float | None
    within: RetrievalAgreement
    against: RetrievalAgreement | None = None

    @property
    def top1(self) -> float:
        """Return the lower of the two top-1 agreements."""
        return min(self.within.top1, self.against.top1 if self.against else 1.0)


def agree(
    teacher: DescriptorArray, student: DescriptorArray, *, exclude: int, tolerance: int,
    reference: tuple[DescriptorArray, DescriptorArray] | None = None
) -> TeacherAgreement:
    """
    Compare two networks on a stretch of images in the order they were taken.

    :param teacher: descriptors ``(N, D)``, any length but not zero
    :param student: descriptors of the same images, ``(N, D')``
    :param exclude: images up to this many places away are not looked for: they always look alike
    :param tolerance: two answers that are at most this many images apart count as the same
    :param reference: teacher's and student's descriptors of another part, ``(R, D)``, ``(R, D')``
    :raises VprError: if the arrays do not belong together, hold NaN, or are too short for
        ``exclude``
    """
    if exclude < 0 or tolerance < 0:
        raise VprError(
            f'exclude is {exclude} and tolerance {tolerance}; both are numbers of images, 0 or '
            'more')
    first, second = stretch = _pair(teacher, student, 'stretch')
    count = len(first)
    if count < 2 * exclude + 2:
        raise VprError(
            f'{count} images are too few to leave out {exclude} on both sides of each; needs '
            f'{2 * exclude + 2} or more: use a longer stretch or a smaller exclude')
    against = None
    if reference is not None:
        places = _pair(*reference, 'reference')
        if (places[0].shape[1], places[1].shape[1]) != (first.shape[1], second.shape[1]):
            raise VprError(
                f'the reference has {places[0].shape[1]} and {places[1].shape[1]} dimensions, '
                f'the stretch {first.shape[1]} and {second.shape[1]}; describe both with the '
                'same two models')
        against = _compare(stretch, places, -1, tolerance)
    within = _compare(stretch, stretch, exclude, tolerance)
    if first.shape != second.shape:
        return TeacherAgreement(mean_cosine=None, low_cosine=None, lowest_cosine=None,
                                within=within, against=against)
    cosines = np.einsum('nd,nd->n', first, second, dtype=np.float64)
    return TeacherAgreement(
        mean_cosine=float(cosines.mean()), low_cosine=float(np.percentile(cosines, 5)),
        lowest_cosine=float(cosines.min()), within=within, against=against)


def _compare(
    queries: _Pair, places: _Pair, exclude: int, tolerance: int
) -> RetrievalAgreement:
    """
    Compare what teacher and student find; of equally similar images the earlier comes first.

    :param exclude: places up to this many away from the query are left out, -1 for none
    """
    count, total = len(queries[0]), len(places[0])
    # The image in the middle of the stretch has the fewest others.
    depth = min(NEIGHBOURS, total - (min(2 * exclude + 1, total) if exclude >= 0 else 0))
    same, shared = 0, 0
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        barred = np.abs(rows[:, None] - np.arange(total)) <= exclude
        found = [
            np.argsort(-np.where(barred, np.float32(-2.0), asked[rows] @ known.T), axis=1,
                       kind='stable')[:, :depth]
            for asked, known in zip(queries, places)]
        same += int((np.abs(found[0][:, 0] - found[1][:, 0]) <= tolerance).sum())
        shared += int((found[0][:, :, None] == found[1][:, None, :]).sum())
    return RetrievalAgreement(
        queries=count, top1=same / count, neighbours=shared / (count * depth), depth=depth)


def _pair(teacher: DescriptorArray, student: DescriptorArray, what: str) -> _Pair:
    """
    Return descriptors of the same images at unit length.

    :raises VprError: saying what is wrong with them
    """
    first = _checked(teacher, f'{what} by the teacher')
    second = _checked(student, f'{what} by the student')
    if len(first) != len(second):
        raise VprError(
            f'the {what} has {len(first)} descriptors of the teacher and {len(second)} of the '
            'student; describe the same images with both')
    return first, second


def _checked(descriptors: DescriptorArray, name: str) -> NDArray[np.float32]:
    """Return descriptors at unit length, or say what is wrong with them."""
    values = np.asarray(descriptors, np.float32)
    if values.ndim != 2 or 0 in values.shape:
        raise VprError(
            f'descriptors of the {name} have shape {values.shape}, need (N, D), at least (1, 1)')
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise VprError(
            f'descriptors of the {name} hold NaN or infinity in {int(bad.sum())} of {len(values)} '
            f'rows, first in row {int(bad.argmax())}; the network is broken')
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not lengths.all():
        raise VprError(
            f'the descriptor of the {name} in row {int(lengths.argmin())} is zero; '
            'the network is broken')
    return np.asarray(values / lengths, np.float32)
