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

"""Walks go through the decision of the robot; what it says is set against the labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.offline.calibration.evidence import in_own_past
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import observe
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray

SIZE, SECOND = 64, 1_000_000_000


class Named:
    """Says which model the descriptors are of, and describes nothing."""

    dimension = SIZE
    descriptor_id = '00000000feedf00d'
    calibration = DecisionCalibration()

    def describe(self, image: ImageArray) -> DescriptorArray:
        """Refuse: descriptors are known beforehand."""
        raise AssertionError(f'an image of {image.shape} was described')


def way(places: np.ndarray, noise: int = 0) -> Route:
    """Return a route along a made-up way on which near places look alike."""
    rng = np.random.default_rng(5)
    knots = rng.standard_normal((80, SIZE))
    at = np.asarray(places, float)
    low = np.floor(at).astype(int)
    blend = (at - low)[:, np.newaxis]
    views = (1 - blend) * knots[low] + blend * knots[low + 1]
    views = views + 0.02 * np.random.default_rng(noise).standard_normal(views.shape)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    return Route(views.astype(np.float32), tuple(SECOND * n for n in range(len(at))))


def walk(mapped: Route, asked: Route, labels: np.ndarray, **rest: object) -> LabelledWalk:
    """Return a walk through a map of one session."""
    return LabelledWalk(
        name='walk', group='made up', mapped=(mapped,), asked=asked,
        labels=labels.astype(np.int8), counted=np.ones(len(asked), bool), **rest)


def distances(asked: np.ndarray, mapped: np.ndarray) -> np.ndarray:
    """Return labels by distance: right within one, unclear within three."""
    off = np.abs(np.subtract.outer(asked, mapped))
    return np.where(off <= 1.0, RIGHT, np.where(off <= 3.0, UNCLEAR, WRONG))


def test_a_walk_in_its_map_is_believed_where_it_is() -> None:
    """Evidence comes with every image, and the labels are those of the believed rows."""
    mapped, asked = np.arange(0, 60, 0.5), np.arange(5, 50, 0.5)
    labels = distances(asked, mapped)
    ticks: list[None] = []
    (found,) = observe([walk(way(mapped), way(asked, 1), labels)], Named(),
                       tick=lambda: ticks.append(None))
    assert len(ticks) == len(asked)
    believed = found.rows >= 0
    assert believed.mean() > 0.9
    assert (found.labels[believed] == RIGHT).mean() > 0.9
    np.testing.assert_array_equal(
        found.labels[believed], labels[np.flatnonzero(believed), found.rows[believed]])
    assert all(found.evidence[number] for number in np.flatnonzero(believed))
    assert found.answerable.all()
    assert not found.unknown.any()


def test_walks_on_one_map_start_cold() -> None:
    """The second one is decided as if it were alone."""
    mapped = way(np.arange(0, 60, 0.5))
    same = (mapped,)
    labels = np.zeros((30, 120), np.int8)
    first, second = (replace(
        walk(mapped, way(np.arange(start, start + 15, 0.5), start), labels), mapped=same)
        for start in (10, 40))
    *_, after = observe([first, second], Named())
    (alone,) = observe([second], Named())
    np.testing.assert_array_equal(after.rows, alone.rows)
    np.testing.assert_allclose(after.confidences, alone.confidences)
    assert after.evidence == alone.evidence
    assert after.unknown.all()


def test_rows_count_over_all_sessions() -> None:
    """The second session of a map goes on counting."""
    one, two = way(np.arange(0, 20, 0.5)), way(np.arange(40, 60, 0.5))
    asked = way(np.arange(42, 58, 0.5), 2)
    labels = np.zeros((32, 80), np.int8)
    (found,) = observe([replace(walk(one, asked, labels), mapped=(one, two))], Named())
    assert (found.rows[found.rows >= 0] >= 40).mean() > 0.9


def test_images_that_only_lead_there_are_not_judged() -> None:
    """They have no label, and are neither answerable nor unknown."""
    mapped = np.arange(0, 60, 0.5)
    given = walk(way(mapped), way(mapped[20:50], 1), distances(mapped[20:50], mapped))
    counted = np.arange(30) >= 10
    (found,) = observe([replace(given, counted=counted)], Named())
    assert (found.labels[:10] == UNCLEAR).all()
    assert not found.answerable[:10].any()
    assert found.answerable[10:].all()


def test_a_walk_in_its_own_past_finds_what_was_seen_before_and_is_not_recent() -> None:
    """The second lap finds the first; what does not become a place is never believed."""
    lap = np.arange(0, 50, 0.5)
    twice = np.concatenate([lap, lap])
    route = way(twice, 3)
    labels = in_own_past(distances(twice, twice), route.stamps_ns)
    given = replace(walk(route, route, labels), mapped=())
    (found,) = observe([given], Named())
    assert not found.answerable[:100].any()
    assert found.answerable[103:].all()
    second = found.labels[110:]
    assert (second == RIGHT).mean() > 0.8
    assert (found.rows < np.arange(200)).all()
    assert (np.arange(200) - found.rows)[found.rows >= 0].min() > 30

    left_out = frozenset(range(100))
    labels = in_own_past(distances(twice, twice), route.stamps_ns, left_out)
    (found,) = observe([replace(given, left_out=left_out, labels=labels)], Named())
    assert not set(found.rows.tolist()) & left_out
    assert found.unknown[:130].all()
