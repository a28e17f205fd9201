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

"""Agreement of two networks without labels: small arrays, counted by hand."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.agreement import agree
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.records import DescriptorArray


def at_angles(*degrees: float) -> DescriptorArray:
    """Return unit vectors in a plane; the most similar one is the one with the next angle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_network_agrees_with_itself(rng: np.random.Generator) -> None:
    """Everything is 1."""
    found = rng.standard_normal((40, 8)).astype(np.float32)
    same = agree(found, 3.0 * found, exclude=2, tolerance=0, reference=(found[:9], found[:9]))
    assert same.mean_cosine == pytest.approx(1.0)
    assert same.lowest_cosine == pytest.approx(1.0)
    assert (same.within.top1, same.within.neighbours, same.within.depth) == (1.0, 1.0, 10)
    assert same.against is not None
    assert (same.against.top1, same.against.neighbours, same.against.depth) == (1.0, 1.0, 9)
    assert same.within.queries == 40


def test_answers_and_cosines_are_those_counted_by_hand() -> None:
    """Teacher finds 1, 0, 3, 2; the student 1, 0, 0, 2."""
    teacher = at_angles(0, 10, 50, 55)
    student = at_angles(0, 10, -20, -110)
    found = agree(teacher, student, exclude=0, tolerance=0)
    assert found.within.top1 == pytest.approx(3 / 4)
    assert found.within.neighbours == 1.0  # of three others, all three are the nearest three
    cosines = np.cos(np.radians([0, 0, 70, 165]))
    assert found.mean_cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert found.low_cosine == pytest.approx(np.percentile(cosines, 5), abs=1e-6)
    assert found.lowest_cosine == pytest.approx(cosines[3], abs=1e-6)
    # 3 instead of 0 is three images off.
    assert agree(teacher, student, exclude=0, tolerance=2).within.top1 == pytest.approx(3 / 4)
    assert agree(teacher, student, exclude=0, tolerance=3).within.top1 == 1.0


def test_images_nearby_are_left_out() -> None:
    """With neighbours excluded, the teacher finds 2, 3, 0, 1; the student 3, 3, 0, 0."""
    teacher, student = at_angles(0, 10, 20, 30), at_angles(0, 40, 180, 20)
    found = agree(teacher, student, exclude=1, tolerance=0)
    assert found.within.top1 == pytest.approx(2 / 4)
    assert found.within.depth == 1


def test_the_reference_is_searched_as_a_whole() -> None:
    """Nothing is excluded there; two of three find the same place, nearest two of two shared."""
    teacher, student = at_angles(0, 30, 60), at_angles(0, 30, 5)
    places = at_angles(10, 50)
    found = agree(teacher, student, exclude=0, tolerance=0, reference=(places, places)).against
    assert found is not None
    assert found.top1 == pytest.approx(2 / 3)
    assert (found.queries, found.depth, found.neighbours) == (3, 2, 1.0)


def test_the_lower_agreement_counts() -> None:
    """A student that works in its stretch but not in the map is no good."""
    teacher, student = at_angles(0, 30, 60), at_angles(0, 30, 60)
    found = agree(teacher, student, exclude=0, tolerance=0,
                  reference=(at_angles(0, 60), at_angles(60, 0)))
    assert found.within.top1 == 1.0
    assert found.against is not None
    assert found.top1 == found.against.top1 < 0.5


def test_students_of_another_size_have_no_cosine(rng: np.random.Generator) -> None:
    """Which images look alike can still be compared."""
    teacher = np.zeros((12, 6), np.float32)
    teacher[:, :4] = rng.standard_normal((12, 4))
    found = agree(teacher, teacher[:, :4], exclude=1, tolerance=0)
    assert found.mean_cosine is found.low_cosine is found.lowest_cosine is None
    assert found.within.top1 == 1.0
    assert config_from_mapping(TeacherAgreement, asdict(found)) == found


def test_long_stretches_give_what_short_blocks_give(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The similarity matrix is never whole."""
    teacher, student = rng.standard_normal((2, 50, 6)).astype(np.float32)
    whole = agree(teacher, student, exclude=3, tolerance=1)
    monkeypatch.setattr('vpr_compressed.offline.accuracy.agreement._BLOCK', 7)
    assert agree(teacher, student, exclude=3, tolerance=1) == whole
    assert 0.0 < whole.within.top1 < 1.0


@pytest.mark.parametrize(('teacher', 'student', 'options', 'message'), [
    (at_angles(0, 1, 2), at_angles(0, 1, 2), {'exclude': 1}, '3 images are too few.*needs 4'),
    (at_angles(0, 1), at_angles(0, 1, 2), {}, '2 descriptors of the teacher and 3'),
    (at_angles(0, 1), at_angles(0, 1), {'exclude': -1}, '0 or more'),
    (at_angles(0, np.nan), at_angles(0, 1), {}, 'teacher hold NaN.*1 of 2 rows, first in row 1'),
    (at_angles(0, 1), np.zeros((2, 2), np.float32), {}, 'student in row 0 is zero'),
    (np.zeros((0, 2), np.float32), at_angles(0), {}, r'shape \(0, 2\)'),
    (at_angles(0, 1), at_angles(0, 1), {'reference': (np.ones((3, 4)), np.ones((3, 4)))},
     'reference has 4 and 4 dimensions'),
    (at_angles(0, 1), at_angles(0, 1), {'reference': (at_angles(0), at_angles(0, 1))},
     'reference has 1 descriptors'),
])
def test_what_cannot_be_compared_is_refused(
    teacher: DescriptorArray, student: DescriptorArray, options: dict[str, int], message: str
) -> None:
    """Each text says what was found."""
    with pytest.raises(VprError, match=message):
        agree(teacher, student, **{'exclude': 0, 'tolerance': 0, **options})
