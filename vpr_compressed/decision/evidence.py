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

"""
What speaks for the place that is named: pieces of evidence, from this image and the last ones.

Similarity has no absolute meaning between sites and hours, so everything is relative: to other
places of the map, to the mean of the recent images, to how well this walk matched before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import field
import math

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.records import DescriptorArray

FloatArray = NDArray[np.float64]

#: Names of the evidence that a walk gathers.
WALK = ('belief', 'travel', 'mean_margin', 'mean_gain', 'views', 'progress', 'drop')

#: Nodes by which a place may move between two images before they count as two tracks.
_TRACK_JUMP = 10
#: Weight of the newest image in the running means of a track, and the largest number of images
#: that the means of queries and matched keyframes are taken over.
_NEWEST, _WINDOW = 0.15, 10
#: By how much the best correlation of a walk is forgotten with every change of view.
_FORGET = 0.003
#: Bounds of a margin, in standard deviations, and of a logit.
_MARGIN, _LOGIT = (-2.0, 4.0), 8.0
#: Product of lengths below which a direction means nothing.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Look:
    """
    What one image says of the named place.

    :param node: of the named keyframe
    :param mass: probability of its place, of linked places too
    :param margin: relative similarity of the place above that of the best other place
    :param gain: centred correlation of image and keyframe above that of the keyframe with the
        places it is most easily taken for
    :param query: descriptor of the image, ``(D,)``
    :param keyframe: descriptor of the named keyframe, ``(D,)``
    """

    node: int
    mass: float
    margin: float
    gain: float
    query: DescriptorArray
    keyframe: DescriptorArray


@dataclass
class Track:
    """
    Images in a row that named places next to each other.

    :param mean_query: running mean of their descriptors; ``mean_keyframe``: of the keyframes
    """

    mean_query: DescriptorArray
    mean_keyframe: DescriptorArray
    views: int = 0
    last: int | None = None
    path: deque[int] = field(default_factory=lambda: deque(maxlen=5))
    margins: float = 0.0
    weights: float = 0.0
    correlation: float = 0.0
    gain: float = 0.0


class Evidence:
    """
    Follows the named place and keeps what the images said of it.

    :ivar best: highest mean correlation of this walk, slowly forgotten
    """

    def __init__(self) -> None:
        self._track: Track | None = None
        self.best = 0.0

    @property
    def views(self) -> int:
        """Return the changes of view since the place was named first."""
        return 0 if self._track is None else self._track.views

    def reset(self) -> None:
        """Forget all images."""
        self._track = None
        self.best = 0.0

    def renumber(self, last: int | None) -> None:
        """Take the number that the last named node has now; the way to it is forgotten."""
        if self._track is not None:
            self._track.path.clear()
            self._track.last = last

    def follows(self, node: int) -> bool:
        """Return whether a node goes on where the last image was."""
        track = self._track
        return track is not None and track.last is not None and (
            abs(node - track.last) <= _TRACK_JUMP)

    def add(
        self, look: Look, *, change: float, steps: float, keep: bool, mean: DescriptorArray,
        linked: bool
    ) -> dict[str, float]:
        """
        Return the pieces of evidence for the place an image names.

        :param change: view change since the last kept image, in [0, 1] of one step
        :param steps: nodes per step
        :param keep: the image stays in the means
        :param mean: of the map, ``(D,)``
        :param linked: the place is the one named before, in another session
        """
        track = self._track
        if track is None or not (linked or self.follows(look.node)):
            track = Track(mean, mean)
        first = track.views == 0
        share = change / (min(track.views + 1, _WINDOW) + 1)
        mean_query = track.mean_query + share * (look.query - track.mean_query)
        mean_keyframe = track.mean_keyframe + share * (look.keyframe - track.mean_keyframe)
        newest = 1.0 if first else change * max(1.0 / (track.views + 1), _NEWEST)
        now = correlation(look.query - mean_query, look.keyframe - mean_keyframe)
        mean_correlation = track.correlation + newest * (now - track.correlation)
        gain = track.gain + newest * (look.gain - track.gain)
        margins = track.margins * (1.0 - 0.1 * change) + change * float(
            np.clip(look.margin, *_MARGIN))
        weights = track.weights * (1.0 - 0.1 * change) + change
        best = max(mean_correlation if track.views >= 3 else 0.0, self.best - _FORGET * change)
        path = track.path
        travel = min(abs(look.node - path[0]) / len(path) / max(steps, 1e-6), 1.0) if path else 0.0
        # an image that is no new view counts as the last one: standing adds nothing
        views = math.log1p(track.views if keep or first else track.views - 1)
        drop = min((now if first else mean_correlation) - best, 0.0)
        pieces = dict(zip(WALK, (
            min(_logit(look.mass), 1.0), travel, margins / max(weights, 0.5), gain, views,
            travel * views, drop)))
        if keep:
            track.mean_query, track.mean_keyframe = mean_query, mean_keyframe
            track.correlation, track.gain = mean_correlation, gain
            track.margins, track.weights = margins, weights
            track.views += 1
            track.path.append(look.node)
            self.best = best
            self._track = track
        track.last = look.node
        if self._track is None:
            self._track = track
        return pieces


def correlation(one: DescriptorArray, other: DescriptorArray) -> float:
    """Return the cosine between two vectors, 0 where one of them is nothing."""
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > _NOTHING else 0.0


def correlations(rows: DescriptorArray, other: DescriptorArray) -> FloatArray:
    """Return the cosine of each row with a vector, ``(M,)``, 0 where one of them is nothing."""
    sizes = np.sqrt(np.einsum('md,md->m', rows, rows)) * np.linalg.norm(other)
    return np.asarray(rows @ other / np.where(sizes > _NOTHING, sizes, np.inf), np.float64)


def _logit(probability: float) -> float:
    """Return the bounded logit of a probability."""
    inside = min(max(probability, 1e-9), 1.0 - 1e-9)
    return float(np.clip(math.log(inside / (1.0 - inside)), -_LOGIT, _LOGIT))
