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

"""From the walks of a recipe to labelled ones: which images they need, and what is right."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.errors import ConfigError
from vpr_compressed.offline.accuracy.ground_truth import from_file
from vpr_compressed.offline.calibration.describing import Described
from vpr_compressed.offline.calibration.describing import route_of
from vpr_compressed.offline.calibration.describing import Wanted
from vpr_compressed.offline.calibration.evidence import in_own_past
from vpr_compressed.offline.calibration.evidence import LabelledWalk
from vpr_compressed.offline.calibration.evidence import RIGHT
from vpr_compressed.offline.calibration.evidence import Route
from vpr_compressed.offline.calibration.evidence import UNCLEAR
from vpr_compressed.offline.calibration.evidence import WRONG
from vpr_compressed.offline.calibration.recipe import CalibrationRecipe
from vpr_compressed.offline.calibration.recipe import RouteConfig
from vpr_compressed.offline.calibration.recipe import WalkConfig
from vpr_compressed.offline.calibration.sites import Entry
from vpr_compressed.offline.calibration.sites import open_site
from vpr_compressed.offline.calibration.sites import Site
from vpr_compressed.offline.calibration.sites import walks_of
from vpr_compressed.sources import ImageList

#: Site -> image -> what was described of it.
Images = Mapping[str, Mapping[Wanted, Described]]


@dataclass(frozen=True)
class Leg:
    """Images of one site in the order they are walked."""

    site: Site
    entries: tuple[Entry, ...]
    dark: bool

    @property
    def wanted(self) -> list[Wanted]:
        """Return what must be described."""
        return [Wanted(entry.index, self.dark) for entry in self.entries]

    def route(self, images: Images) -> Route:
        """
        Return the images with what was described of them.

        Files have no time; on a way through them one follows the other as in a folder.
        """
        source = self.site.source
        rate_hz = source.rate_hz if isinstance(source, ImageList) else None
        return route_of(images[self.site.name], self.wanted, rate_hz=rate_hz)


@dataclass(frozen=True)
class PlannedWalk:
    """A map and the walks that are recognised in it, of one entry of the recipe."""

    config: WalkConfig
    mapped: tuple[Leg, ...]
    asked: tuple[Leg, ...]

    @property
    def rows(self) -> int:
        """Number of images of the map."""
        return sum(len(leg.entries) for leg in self.mapped)


class Plan:
    """
    What a recipe asks for; no image is decoded.

    :param root: folder its paths are relative to
    :raises VprError: a site has no images, or lacks what its walks need
    """

    def __init__(self, recipe: CalibrationRecipe, root: Path) -> None:
        used = {route.site for walk in recipe.walks for route in (*walk.reference, *walk.query)}
        self.sites = {name: open_site(root, name, config)
                      for name, config in recipe.sites.items() if name in used}
        own = [PlannedWalk(walk, self._legs(walk.reference), self._legs(walk.query))
               for walk in recipe.walks]
        self.walks = [*own, *_crossed(own)]
        # Before hours go into describing images, what is right must be known.
        self._labels = [_labels(walk, root) for walk in self.walks]

    def wanted(self) -> dict[str, list[Wanted]]:
        """Return the images that must be described, each once, by site."""
        found: dict[str, dict[Wanted, None]] = {}
        for walk in self.walks:
            for leg in (*walk.mapped, *walk.asked):
                found.setdefault(leg.site.name, {}).update(dict.fromkeys(leg.wanted))
        return {site: list(images) for site, images in found.items()}

    def labelled(self, images: Images) -> Iterator[LabelledWalk]:
        """
        Yield all walks with what is right on them.

        :param images: as described, at least :meth:`wanted`
        """
        for number, (walk, labels) in enumerate(zip(self.walks, self._labels), start=1):
            mapped = tuple(leg.route(images) for leg in walk.mapped)
            for part, (leg, each) in enumerate(zip(walk.asked, labels), start=1):
                route = leg.route(images)
                yield LabelledWalk(
                    name=f'{walk.config.group} {number}.{part}', group=walk.config.group,
                    mapped=mapped, asked=route,
                    labels=each if mapped else in_own_past(each, route.stamps_ns),
                    counted=np.ones(len(each), bool))

    def _legs(self, routes: Iterable[RouteConfig]) -> tuple[Leg, ...]:
        """Return the walks of some routes."""
        return tuple(
            Leg(self.sites[route.site], tuple(entries), route.dark)
            for route in routes for entries in walks_of(self.sites[route.site], route))


def _labels(walk: PlannedWalk, root: Path) -> list[NDArray[np.int8]]:
    """Return, for each walk, what each row of the map is for each image, int8 ``(Q, R)``."""
    config = walk.config
    if config.by == 'file':
        return _listed(walk, root)
    found = []
    for leg in walk.asked:
        if config.by == 'nothing':
            rows = walk.rows if walk.mapped else len(leg.entries)
            found.append(np.full((len(leg.entries), rows), WRONG, np.int8))
        else:
            judge = _by_metres if config.by == 'metres' else _by_numbers
            found.append(np.concatenate(
                [judge(config, leg, mapped) for mapped in walk.mapped or (leg,)], axis=1))
    return found


def _listed(walk: PlannedWalk, root: Path) -> list[NDArray[np.int8]]:
    """Return the labels that a file of answers gives, its queries counted over all walks."""
    config, rows = walk.config, np.arange(walk.rows)
    ends = np.cumsum([len(leg.entries) for leg in walk.asked]).tolist()
    truth = from_file(root / config.ground_truth, ends[-1], walk.rows)
    off = np.full((ends[-1], walk.rows), np.inf)
    for number, listed in enumerate(truth.positives):
        if listed:
            off[number] = np.abs(rows[:, np.newaxis] - np.array(sorted(listed))).min(axis=1)
    return np.split(_graded(config, off), ends[:-1])


def _crossed(walks: Sequence[PlannedWalk]) -> Iterator[PlannedWalk]:
    """Yield the maps of crossed walks with the queries of the crossed walks of other groups."""
    crossed = [walk for walk in walks if walk.config.crossed]
    for walk in crossed:
        sites = {leg.site.name for leg in (*walk.mapped, *walk.asked)}
        asked = tuple(
            leg for other in crossed if other.config.group != walk.config.group
            for leg in other.asked if leg.site.name not in sites)
        if not asked:
            raise ConfigError(
                f'the crossed walk of group {walk.config.group!r} has no other crossed walk of '
                'another group and other sites; mark one, or leave "crossed" out')
        yield PlannedWalk(replace(walk.config, by='nothing', ground_truth='', crossed=False),
                          walk.mapped, asked)


def _graded(config: WalkConfig, off: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return RIGHT, UNCLEAR and WRONG by how far off rows are."""
    clear = np.where(off <= config.right, RIGHT, UNCLEAR)
    return np.asarray(np.where(off > max(config.right, config.wrong), WRONG, clear), np.int8)


def _by_numbers(config: WalkConfig, asked: Leg, mapped: Leg) -> NDArray[np.int8]:
    """Return labels of images that count along equal walks."""
    one, other = ([entry.number for entry in leg.entries] for leg in (asked, mapped))
    found = _graded(config, np.abs(np.subtract.outer(one, other)))
    walks = [[entry.walk for entry in leg.entries] for leg in (asked, mapped)]
    elsewhere = _unequal(*walks)
    places = asked.site.places(asked.entries), mapped.site.places(mapped.entries)
    overlap = elsewhere & ~_unequal(*places) & _given(places[0])
    return np.asarray(
        np.where(overlap, UNCLEAR, np.where(elsewhere, WRONG, found)), np.int8)


def _by_metres(config: WalkConfig, asked: Leg, mapped: Leg) -> NDArray[np.int8]:
    """Return labels of images with positions; another heading is never right."""
    one, other = (leg.site.positions_m(leg.entries) for leg in (asked, mapped))
    found = _graded(config, np.linalg.norm(one[:, np.newaxis] - other, axis=2))
    turn = np.abs(np.subtract.outer(
        asked.site.headings(asked.entries), mapped.site.headings(mapped.entries))) % 360.0
    turned = np.minimum(turn, 360.0 - turn) > asked.site.config.heading_within
    return np.asarray(np.where(turned & (found == RIGHT), UNCLEAR, found), np.int8)


def _unequal(one: Sequence[str], other: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts differ, ``(N, M)``."""
    return np.asarray(np.array(one)[:, np.newaxis] != np.array(other))


def _given(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts are not empty, ``(N, 1)``."""
    return np.asarray(np.array(texts) != '')[:, np.newaxis]
