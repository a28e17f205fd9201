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

"""Thresholds follow how similarities moved, and stay where nothing is to be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import pytest

from vpr_compressed.model_file.spec import MAX_SLOPE
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.offline.accuracy.calibrate import follow

BEFORE = SimilarityCalibration(threshold=0.7, slope=20.0, offset=0.6)


def unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return rows of unit norm."""
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def described(count: int = 60, size: int = 8, seed: int = 1) -> NDArray[np.float32]:
    """Return descriptors of some images, a few of them much alike."""
    return unit(np.random.default_rng(seed).standard_normal((count, size)))


def squeezed(parent: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """Return descriptors whose cosines are ``gain s + 1 - gain``: a constant part is added."""
    constant = np.full((len(parent), 1), np.sqrt(1.0 - gain), np.float32)
    return np.concatenate([np.sqrt(gain) * parent, constant], axis=1).astype(np.float32)


def test_the_same_descriptors_keep_their_calibration() -> None:
    """In another basis and with more dimensions, too."""
    parent = described()
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 8)))[0].T
    for student in (parent, (parent @ turn).astype(np.float32)):
        found = follow(BEFORE, parent, student)
        assert found.threshold == pytest.approx(0.7, abs=1e-4)
        assert found.slope == pytest.approx(20.0, rel=1e-3)
        assert found.offset == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize('gain', [0.9, 0.5, 0.25])
def test_a_line_is_followed_exactly(gain: float) -> None:
    """The same pairs are accepted, with the same confidence."""
    parent = described()
    student = squeezed(parent, gain)
    found = follow(BEFORE, parent, student)
    assert found.threshold == pytest.approx(gain * 0.7 + 1.0 - gain, abs=1e-4)
    assert found.slope == pytest.approx(min(MAX_SLOPE, 20.0 / gain), rel=1e-3)
    before, after = parent @ parent.T, student @ student.T
    far = np.abs(before - BEFORE.threshold) > 1e-3
    np.testing.assert_array_equal(
        (before > BEFORE.threshold)[far], (after > found.threshold)[far])
    one = 1.0 / (1.0 + np.exp(-BEFORE.slope * (before - BEFORE.offset)))
    other = 1.0 / (1.0 + np.exp(-found.slope * (after - found.offset)))
    if found.slope < MAX_SLOPE:
        np.testing.assert_allclose(other, one, atol=1e-3)


def test_a_spread_that_grew_is_followed_back() -> None:
    """The other way round; values stay where cosines can be."""
    student = described()
    found = follow(SimilarityCalibration(threshold=0.1, slope=20.0, offset=0.2),
                   squeezed(student, 0.5), student)
    assert found.slope == pytest.approx(10.0, rel=1e-3)
    assert found.threshold == pytest.approx(-0.8, abs=1e-3)
    lowest = follow(SimilarityCalibration(threshold=-0.5, slope=20.0, offset=0.2),
                    squeezed(student, 0.3), student)
    assert lowest.threshold == -1.0


@pytest.mark.parametrize('student', [
    described(9), described(60, seed=5), -0.01 * described(), np.full((60, 8), np.nan, np.float32),
], ids=['other images', 'no line', 'no spread', 'broken'])
def test_what_shows_no_line_keeps_the_calibration(student: NDArray[np.float32]) -> None:
    """Better an old threshold than one that means nothing."""
    assert follow(BEFORE, described(), student) == BEFORE


def test_few_or_equal_images_keep_the_calibration() -> None:
    """Nine images, or a camera that never moved."""
    assert follow(BEFORE, described(9), squeezed(described(9), 0.5)) == BEFORE
    assert follow(BEFORE, described(10), squeezed(described(10), 0.5)) != BEFORE
    still = np.tile(described(1), (20, 1))
    assert follow(BEFORE, still, described(20)) == BEFORE
