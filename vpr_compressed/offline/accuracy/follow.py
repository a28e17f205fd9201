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

"""Thresholds for a compressed model without labels: follow how its similarities moved."""

from __future__ import annotations

import numpy as np

from vpr_compressed.model_file.calibration import MAX_SLOPE
from vpr_compressed.model_file.calibration import SimilarityCalibration
from vpr_compressed.records import DescriptorArray

_FEWEST = 10


def follow(
    calibration: SimilarityCalibration, parent: DescriptorArray, student: DescriptorArray
) -> SimilarityCalibration:
    """
    Carry a calibration over to a student whose similarities are spread differently.

    A line is fitted through the similarities of all pairs of images as the two networks see
    them, ``s_student = a s_parent + b``; threshold and confidence are moved along it.

    :param parent: descriptors of N images, ``(N, D)``, unit norm
    :param student: the same images, ``(N, D')``, unit norm
    :returns: the calibration as it was if there are too few images, or no line is to be seen
    """
    if len(parent) < _FEWEST or len(parent) != len(student):
        return calibration
    above = np.triu_indices(len(parent), 1)
    before, after = (parent @ parent.T)[above], (student @ student.T)[above]
    spread = float(before.var())
    if spread <= 0.0:
        return calibration
    gain = float(((before - before.mean()) * (after - after.mean())).mean()) / spread
    if not 0.2 < gain < 5.0:
        return calibration
    shift = float(after.mean() - gain * before.mean())
    return SimilarityCalibration(
        threshold=float(np.clip(gain * calibration.threshold + shift, -1.0, 1.0)),
        slope=min(MAX_SLOPE, calibration.slope / gain),
        offset=float(np.clip(gain * calibration.offset + shift, -10.0, 10.0)))
