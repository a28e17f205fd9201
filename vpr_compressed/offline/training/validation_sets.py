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

"""Labelled images that judge a network, and the thresholds that are fitted on them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from vpr_compressed.config import Bounded
from vpr_compressed.config import option
from vpr_compressed.model_file.spec import SimilarityCalibration
from vpr_compressed.offline.accuracy.calibrate import fit_calibration
from vpr_compressed.offline.accuracy.validation import Measurement
from vpr_compressed.offline.accuracy.validation import positions_set
from vpr_compressed.offline.accuracy.validation import ValidationSet
from vpr_compressed.offline.accuracy.validation import walks_set
from vpr_compressed.offline.training.labels import list_images

#: Share of right answers above the stored similarity threshold, for one image alone.
THRESHOLD_PRECISION = 0.99


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Bounded):
    """One set of images on which checkpoints are compared; disjoint from the training data."""

    name: str = option('', 'name in the log')
    kind: str = option('positions', 'positions: every image against all others by metres; '
                       'walks: query folder against reference folder by a JSON ground truth',
                       choices=('positions', 'walks'))
    folder: str = option('', 'image folder (kind positions)')
    table: str = option('', 'CSV with pano, x_m, y_m, split (kind positions)')
    split: str = option('', 'rows of the table to use (kind positions)')
    radius_m: float = option(12.0, 'right within this many metres (kind positions)', minimum=0.0)
    query: str = option('', 'query folder (kind walks)')
    reference: str = option('', 'reference folder (kind walks)')
    ground_truth: str = option('', 'JSON: query index -> reference indices (kind walks)')
    dark: bool = option(False, 'make the queries dark, as by night')
    near: float = option(50.0, 'metres, or frames, within which a wrong answer is too near to '
                         'count against a threshold', minimum=0.0)
    calibrate: bool = option(True, 'fit the similarity thresholds on this set')


def validation_set(root: Path, item: ValidationConfig) -> ValidationSet:
    """
    Read one set of validation images.

    :param root: folder the paths of the recipe are relative to
    :raises VprError: if images, table or ground truth are missing or do not fit
    """
    if item.kind == 'positions':
        found = positions_set(
            list_images(root / item.folder), root / item.table, name=item.name, split=item.split,
            radius_m=item.radius_m, near_m=item.near)
    else:
        found = walks_set(
            list_images(root / item.query), list_images(root / item.reference),
            root / item.ground_truth, name=item.name, near_frames=item.near)
    return replace(found, dark=item.dark, calibrate=item.calibrate)


def fitted_calibration(measured: Measurement | None) -> SimilarityCalibration | None:
    """Return the thresholds that decisions on labelled images give, None if they tell nothing."""
    if measured is None or not measured.correct.any() or measured.correct.all():
        return None
    return fit_calibration(
        measured.similarities, measured.correct, precision=THRESHOLD_PRECISION)
