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

"""Descriptors that no walk has: all the same, opposite, the mean; and what the decision loads."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from made_walks import decide
from made_walks import DIMENSION
from made_walks import map_of
from made_walks import new_decider
from made_walks import World
import numpy as np
import pytest

from vpr_compressed.decision.map_view import MapView
from vpr_compressed.records import Decision
from vpr_compressed.records import DescriptorArray

ROOT = Path(__file__).resolve().parents[2]
WORLD = World()


def assert_sound(decisions: list[Decision]) -> None:
    """Fail for anything that is no number, and for what follows from it."""
    for decision in decisions:
        assert 0.0 <= decision.confidence <= 1.0
        assert -1.0 <= decision.similarity <= 1.0
        assert all(np.isfinite(value) for value in decision.evidence.values())
        assert decision.reason.startswith(decision.status.words) or decision.accepted


def signs(count: int) -> DescriptorArray:
    """Return descriptors whose values all have one size."""
    values = np.where(np.random.default_rng(0).random((count, DIMENSION)) < 0.5, -1.0, 1.0)
    return (values / np.sqrt(DIMENSION)).astype(np.float32)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('count', [1, 2, 8, 30])
def test_a_map_of_one_picture_accepts_nothing(count: int) -> None:
    """A camera that was covered while mapping."""
    one = np.repeat(WORLD.at([3]), count, axis=0)
    place_map = map_of(one)
    for rows in (one, WORLD.at(range(20), visit=1), World(2).at(range(20))):
        decisions = decide(place_map, rows)
        assert_sound(decisions)
        assert not any(d.accepted for d in decisions)


@pytest.mark.filterwarnings('error')
def test_an_image_that_is_the_mean_of_the_map_says_nothing() -> None:
    """Nor does a covered camera on the way, to the last bit or nearly."""
    view = MapView(place_map := map_of(WORLD.at(range(60))))
    view.refresh(None)
    unit = view.mean / np.linalg.norm(view.mean)
    for mean in (view.mean, unit):
        decisions = decide(place_map, np.repeat(mean[np.newaxis], 6, axis=0))
        assert_sound([d for d in decisions if mean is unit])
        assert not any(d.accepted for d in decisions)
    alike = np.repeat(unit[np.newaxis], 40, axis=0)
    alike[1::2, 0] += 1e-6
    assert_sound(decide(place_map, alike))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('rows', [
    signs(40), np.stack([signs(1)[0], -signs(1)[0]] * 20), np.eye(DIMENSION, dtype=np.float32),
    -np.eye(DIMENSION, dtype=np.float32), np.concatenate([signs(20), -signs(20)])])
def test_descriptors_of_any_kind_are_compared(rows: DescriptorArray) -> None:
    """Signs, opposites and axes; the keyframe is one that looks exactly like the image."""
    place_map = map_of(rows)
    for asked in (rows, -rows, signs(30)):
        assert_sound(decide(place_map, asked))
    for row, decision in zip(rows, decide(place_map, rows)):
        assert decision.keyframe is not None
        if decision.accepted:
            assert rows[decision.keyframe.keyframe_id - 1] @ row == pytest.approx(1.0)


def test_a_decision_says_its_evidence_by_the_names_of_the_curves() -> None:
    """For walks and single images, with every piece that a curve may ask for."""
    route = new_decider(map_of(WORLD.at(range(40))))
    heap = new_decider(map_of(signs(40)))
    for decider, basis in ((route, 'walk'), (heap, 'single')):
        decision = decide(decider, WORLD.at([5], visit=1))[0]
        assert decision.basis == basis
        curve = getattr(decider._calibration, basis)
        assert set(curve.evidence) <= set(decision.evidence)


def test_deciding_loads_no_heavy_part_of_numpy() -> None:
    """Masked arrays alone take 3 MB on a robot; an edited, growing and large map needs none."""
    code = """
import sys
import numpy as np
loaded = {name for name in sys.modules if name.startswith(('numpy.ma', 'numpy.random'))}
from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import Pose
for count, posed in ((40, True), (40, False), (700, False), (3, False)):
    rows = np.cos(np.arange(16) * np.arange(count)[:, np.newaxis] * 0.11 + np.arange(16))
    place_map = PlaceMap.create(None, descriptor_id='made', dimension=16)
    for i, row in enumerate(rows):
        place_map.add(row, stamp_ns=i, pose=Pose(position_m=(i, 0.0, 0.0)) if posed else None)
    decider = PlaceDecider(place_map, DecisionCalibration())
    for i, row in enumerate((rows / np.linalg.norm(rows, axis=1)[:, np.newaxis])[:30]):
        decider.update(row.astype(np.float32), stamp_ns=i, top_k=5, odometry=Pose(
            position_m=(i, 0.0, 0.0), frame_id='odom'), exclude_since_ns=10 ** 9)
        if i % 7 == 3:
            place_map.remove([i])
        if i % 7 == 5:
            place_map.add(row, stamp_ns=i)
print(sorted({name for name in sys.modules
              if name.startswith(('numpy.ma', 'numpy.random'))} - loaded))
print(sorted(loaded))
"""
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == '[]', result.stdout
