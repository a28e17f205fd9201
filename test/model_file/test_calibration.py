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

"""The confidence curve: from named evidence to a probability, from a precision to a threshold."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import replace
import json
import math
from typing import Any

import numpy as np
import pytest

from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import ConfigError
from vpr_compressed.model_file.calibration import ConfidenceCurve
from vpr_compressed.model_file.calibration import DecisionCalibration

CURVE = ConfidenceCurve(
    evidence=('belief', 'agreement'), weights=(2.0, 1.0), intercept=-1.0,
    precisions=(0.9, 0.99), thresholds=(0.6, 0.9))


def test_confidence_is_the_logistic_of_the_weighted_evidence() -> None:
    """By hand; evidence that the curve does not name does not count."""
    found = CURVE.confidence({'belief': 1.5, 'agreement': 0.5, 'other': 9.0})
    assert found == pytest.approx(1.0 / (1.0 + math.exp(-2.5)))


def test_confidence_rises_and_never_overflows() -> None:
    """Whatever the evidence is worth."""
    curve = replace(CURVE, weights=(1000.0, 0.0))
    values = [curve.confidence({'belief': b, 'agreement': 0.0}) for b in np.linspace(-9, 9, 41)]
    assert values == sorted(values)
    assert (0.0 <= values[0] < 1e-12, values[-1] <= 1.0, values[-1] > 1 - 1e-12) == (True,) * 3


def test_missing_evidence_is_no_zero() -> None:
    """A curve of another version of the decision does not decide half."""
    with pytest.raises(KeyError):
        CURVE.confidence({'belief': 1.0})


@pytest.mark.parametrize(('precision', 'threshold'), [
    (0.45, 0.3), (0.9, 0.6), (0.945, 0.75), (0.99, 0.9), (0.995, 0.95), (1.0, 1.0)])
def test_threshold_of_a_precision(precision: float, threshold: float) -> None:
    """On the line between fitted ones; in proportion below, towards certainty beyond."""
    assert CURVE.threshold(precision) == pytest.approx(threshold)


def test_the_default_is_harder_the_more_precision_is_wanted() -> None:
    """For both kinds of map, and it says that it was not fitted."""
    calibration = DecisionCalibration()
    for curve in (calibration.walk, calibration.single):
        thresholds = [curve.threshold(p) for p in (0.9, 0.95, 0.98, 0.99, 0.999)]
        assert thresholds == sorted(set(thresholds))
    assert calibration.fitted_on == ''
    assert calibration.origin.startswith('the cautious default')
    assert replace(calibration, fitted_on='site').origin == 'fitted on site'


def test_calibration_survives_a_json_file() -> None:
    """Both ways without loss, and unknown keys are refused."""
    calibration = DecisionCalibration(walk=CURVE, fitted_on='site')
    values = json.loads(json.dumps(asdict(calibration)))
    assert config_from_mapping(DecisionCalibration, values) == calibration
    with pytest.raises(ConfigError, match='did you mean'):
        config_from_mapping(DecisionCalibration, {'fited_on': 'site'})


@pytest.mark.parametrize('values', [
    {'weights': (1.0,)}, {'thresholds': (0.6,)}, {'precisions': (), 'thresholds': ()},
    {'thresholds': (0.9, 0.6)}, {'precisions': (0.99, 0.9)}, {'precisions': (0.9, 0.9)},
    {'thresholds': (0.6, 1.1)}, {'intercept': math.nan}, {'weights': (math.inf, 0.0)}])
def test_values_that_are_no_curve_are_refused(values: dict[str, Any]) -> None:
    """A damaged header does not become a threshold."""
    with pytest.raises(ConfigError):
        replace(CURVE, **values)
