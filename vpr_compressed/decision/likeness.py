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

"""How much an image resembles places, relative to the map and to the recent images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.decision.belief import RADIUS
from vpr_compressed.decision.evidence import correlation
from vpr_compressed.decision.evidence import correlations
from vpr_compressed.decision.evidence import FloatArray
from vpr_compressed.decision.map_view import distance_m
from vpr_compressed.decision.map_view import MapView
from vpr_compressed.place_map.index_rows import IdArray
from vpr_compressed.records import DescriptorArray

#: Most similar keyframes that are looked at; 16 did as well on the walks of development, but a
#: prototype lost with 32 on a darker one (docs/decision.md).
SEARCHED = 64
#: Images whose mean is taken off the query, and how slowly that begins.
_WINDOW, _BEGINNING = 30, 2
#: Spread of the similarity of unrelated images, relative to the length of the query, and the
#: size of a map that says as much about it: in smaller ones likeness is worth less.
_USUAL_SPREAD, _SMALL = 0.13, 10
#: Places that are compared with the named one, and how many of them make its double.
_COMPARED, _DOUBLES = 16, 2
#: Relative similarity of the next place where the map holds no other.
_NO_OTHER = 1.4


@dataclass(frozen=True)
class Likeness:
    """
    What an image resembles.

    :param rows: keyframes found, most similar first, ``(K,)``
    :param row_z: relative similarity of each: standard deviations above the map's mean
    :param nodes: nodes of these and of those believed in, each once, ``(M,)``
    :param z: the largest of each node
    :param node_rows: the row it belongs to
    """

    rows: IdArray
    row_z: FloatArray
    nodes: IdArray
    z: FloatArray
    node_rows: IdArray

    def best_row(self, node: int) -> int:
        """Return the most similar row of a node that was looked at, else the nearest node's."""
        return int(self.node_rows[int(np.argmin(np.abs(self.nodes - node)))])


@dataclass(frozen=True)
class Rivals:
    """
    The named place held against the others that look like it.

    :param margin: relative similarity above that of the best other place
    :param correlation: centred correlation of image and named keyframe
    :param gain: how much that is above the keyframe's own with its doubles, where these look
        like it at all: in a small map no place does, which says nothing for the image
    :param keyframe: descriptor of the named keyframe, ``(D,)``
    :param row: the best other place, None if there is none
    :param linked_nodes: places elsewhere in the map that are the named one
    """

    margin: float
    correlation: float
    gain: float
    keyframe: DescriptorArray
    row: int | None
    linked_nodes: list[int]


class Likenesses:
    """
    Compares images with a map; keeps the mean of the recent ones.

    The mean is what all images of this hour have in common. It is taken off the query, so the
    search finds what is special in it, which names places better where images are poor.
    """

    def __init__(self, view: MapView) -> None:
        self._view = view
        self._mean: DescriptorArray | None = None
        self._images = 0
        #: The last image without the mean.
        self._query: DescriptorArray = view.mean

    def reset(self) -> None:
        """Forget the recent images."""
        self._mean, self._images = None, 0

    def take(self, descriptor: DescriptorArray, change: float, *, keep: bool) -> None:
        """Let an image count in the mean of the recent ones, if its view is a new one."""
        if self._mean is None:
            self._mean = self._view.mean
        if keep and change > 0.0:
            share = 1.0 / (min(self._images + 1, _WINDOW) + _BEGINNING)
            self._mean = self._mean + np.float32(share) * (descriptor - self._mean)
            self._images += 1

    def of(self, descriptor: DescriptorArray, likely: IdArray) -> Likeness:  # noqa: A003
        """
        Search the map.

        :param descriptor: of the image, ``(D,)``
        :param likely: nodes that are looked at in any case
        """
        view = self._view
        query = self._query = descriptor - (view.mean if self._mean is None else self._mean)
        length = float(np.linalg.norm(query))
        background = view.sample @ query
        spread = float(np.hypot(
            background.std(), _USUAL_SPREAD * length * _SMALL / len(background))) + 1e-6
        usual = float(background.mean())
        rows, cosines = (view.nearest(query, SEARCHED) if length > 1e-6 else
                         view.nearest(descriptor, SEARCHED))
        row_z = (cosines.astype(np.float64) * length - usual) / spread
        more = view.rows_in(likely[view.exist(likely)]) if likely.size else likely
        more = more[(more[:, np.newaxis] != rows).all(axis=1)]
        more_z = (view.descriptors(more) @ query - usual) / spread if more.size else np.zeros(0)
        every, every_z = np.concatenate([rows, more]), np.concatenate([row_z, more_z])
        # best first within each node, so that the first of each is its likeness
        nodes = view.nodes(every)
        order = np.lexsort((-every_z, nodes))
        first = np.append(True, np.diff(nodes[order]) > 0)
        chosen = order[first]
        return Likeness(rows, row_z, nodes[chosen], every_z[chosen], every[chosen])

    def rivals(self, seen: Likeness, row: int, node: int) -> Rivals:
        """Hold a named keyframe against the other places the image resembles."""
        view = self._view
        mean, query = view.mean, self._query
        order = np.argsort(-seen.z, kind='stable')
        apart = order[np.abs(seen.nodes[order] - node) > 2 * RADIUS]
        near = np.abs(seen.nodes - node) <= RADIUS
        own_z = float(seen.z[near].max(initial=-3.0))
        others = apart[:_COMPARED]
        rows = np.append(seen.node_rows[others], row)
        centred = view.descriptors(rows) - mean
        keyframe = centred[-1]
        alike = correlations(centred[:-1], keyframe)
        linked = self._linked(rows, alike)
        # what is next to another view of the place is no rival, like what is next to the place
        beside = np.abs(seen.nodes[others, np.newaxis] - seen.nodes[others[linked]]) <= 2 * RADIUS
        strange = others[~beside.any(axis=1)]
        doubles = np.sort(alike[~linked])[-_DOUBLES:]
        own = correlation(query, keyframe)
        beyond = apart[_COMPARED:]
        best_other = float(seen.z[strange].max(initial=-9.0))
        if not strange.size:
            best_other = float(seen.z[beyond].max()) if beyond.size else _NO_OTHER
        return Rivals(
            margin=own_z - best_other, correlation=own,
            gain=own - (max(float(doubles.mean()), 0.0) if doubles.size else 0.0),
            keyframe=keyframe + mean,
            row=int(seen.node_rows[strange[0]]) if strange.size else None,
            linked_nodes=seen.nodes[others[linked]].tolist())

    def _linked(self, rows: IdArray, alike: FloatArray) -> NDArray[np.bool_]:
        """Return which places are the named one: near it by their poses, else by likeness."""
        view = self._view
        found = view.keyframes(rows) if view.node_m == view.node_m else {}
        named = found.get(int(rows[-1]))
        linked = alike >= view.link_correlation
        for at, row in enumerate(rows[:-1].tolist()):
            metres = distance_m(named, found.get(row))
            if metres is not None:
                linked[at] = metres <= (RADIUS + 0.5) * view.node_m
        return np.asarray(linked, np.bool_)
