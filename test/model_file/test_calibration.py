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

"""The confidence curve and the threshold fitted on labelled pairs."""

from __future__ import annotations

from dataclasses import asdict
import json

import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.offline.accuracy.calibrate import fit_calibration


def test_confidence_is_a_rising_probability() -> None:
    """It is one half at the offset, grows with similarity and never overflows."""
    calibration = SimilarityCalibration(slope=1000.0, offset=0.3)
    values = [calibration.confidence(s) for s in np.linspace(-1.0, 1.0, 41)]
    assert calibration.confidence(0.3) == pytest.approx(0.5)
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] == 1.0


def test_fit_recovers_the_curve_the_labels_were_drawn_from(rng: np.random.Generator) -> None:
    """With many pairs, slope and offset come back within a few per cent."""
    true = SimilarityCalibration(slope=12.0, offset=0.45)
    similarities = rng.uniform(0.0, 1.0, 40_000)
    chance = np.array([true.confidence(s) for s in similarities])
    fitted = fit_calibration(similarities, rng.uniform(size=chance.size) < chance)
    assert fitted.slope == pytest.approx(12.0, rel=0.05)
    assert fitted.offset == pytest.approx(0.45, abs=0.01)


@pytest.mark.parametrize('precision', [0.9, 0.99, 1.0])
def test_threshold_is_the_lowest_that_reaches_the_precision(
    rng: np.random.Generator, precision: float
) -> None:
    """Brute force over all similarities finds no lower one."""
    similarities = np.round(rng.normal(0.5, 0.2, 500).clip(-1, 1), 2)  # with many ties
    correct = rng.uniform(size=500) < similarities
    correct[np.argmax(similarities)] = True
    correct[similarities == similarities.max()] = True
    threshold = fit_calibration(similarities, correct, precision=precision).threshold
    reached = [s for s in np.unique(similarities)
               if correct[similarities >= s].mean() >= precision]
    assert threshold == min(reached)


def test_threshold_accepts_nothing_seen_when_the_best_pair_is_wrong() -> None:
    """A precision that is never reached is not pretended."""
    fitted = fit_calibration(
        np.array([0.9, 0.8, 0.7, 0.1, 0.0]), np.array([False, True, True, False, False]))
    assert fitted.threshold > 0.9


@pytest.mark.parametrize('gap', [1e-9, 0.01, 0.5])
def test_separable_pairs_have_a_finite_curve_between_the_classes(gap: float) -> None:
    """No slope runs away when a threshold alone separates the classes."""
    similarities = np.concatenate([np.full(20, 0.4), np.full(30, 0.4 + gap)])
    fitted = fit_calibration(similarities, np.arange(50) >= 20)
    assert np.isfinite([fitted.slope, fitted.offset]).all()
    assert fitted.confidence(0.4) <= 0.5 <= fitted.confidence(0.4 + gap) or gap < 1e-3
    assert fitted.threshold == pytest.approx(0.4 + gap)


@pytest.mark.parametrize(('similarities', 'correct', 'message'), [
    ([0.1, 0.2], [True, True], 'right and wrong pairs, got 2 right of 2'),
    ([0.1, 0.2], [False, False], 'got 0 right of 2'),
    ([], [], 'got 0 right of 0'),
    ([0.1, np.nan], [True, False], 'not finite'),
    ([0.1, 0.2, 0.3], [True, False], 'one label per similarity'),
    ([0.9, 0.8, 0.1, 0.2], [False, False, True, True], 'not more similar'),
])
def test_pairs_that_cannot_be_fitted_are_refused(
    similarities: list[float], correct: list[bool], message: str
) -> None:
    """Each has its own words."""
    with pytest.raises(VprError, match=message):
        fit_calibration(np.array(similarities), np.array(correct, dtype=bool))


def test_calibration_survives_a_json_file() -> None:
    """Both ways without loss, and unknown keys are refused."""
    calibration = SimilarityCalibration(threshold=0.61, slope=17.25, offset=0.4)
    text = json.dumps(asdict(calibration))
    assert config_from_mapping(SimilarityCalibration, json.loads(text)) == calibration
    with pytest.raises(ConfigError, match='did you mean'):
        config_from_mapping(SimilarityCalibration, {'treshold': 0.5})


@pytest.mark.parametrize('values', [
    {'threshold': 1.5}, {'threshold': float('nan')}, {'slope': -1.0}, {'offset': float('inf')}])
def test_values_that_are_no_calibration_are_refused(values: dict[str, float]) -> None:
    """A damaged header does not become a threshold."""
    with pytest.raises(ConfigError):
        SimilarityCalibration(**values)
