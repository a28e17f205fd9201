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
What a node answered while a recording was played to it, joined with the offline answers.

Everything here is about records: nothing is played, described or drawn. An image is known by
its stamp; images that share one are told apart by their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.records import Status
from vpr_compressed.sources.answer_log import PlayedImage
from vpr_compressed.sources.answer_log import read_report
from vpr_compressed.sources.answer_log import report_path

PERCENTILES = (50, 95, 99)
#: Stamp in nanoseconds and how many images before it have the same one.
Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PlaceAnswer:
    """
    What came out for one image, live or offline.

    Numbers are float32, as the node publishes them.

    :param best: keyframe that is most similar, None when the map knows none
    :param similarity: cosine to ``best``
    :param place: keyframe that is believed, None when there is none
    :param status: whether it was accepted, or why it was withheld
    :param confidence: probability in [0, 1] that it is right
    """

    best: int | None
    similarity: float
    place: int | None
    status: Status
    confidence: float

    @property
    def accepted(self) -> bool:
        """Return whether the place was accepted."""
        return self.status is Status.ACCEPTED

    def to_json(self) -> dict[str, Any]:
        """Return the values as plain data, the status in words."""
        return {**vars(self), 'status': self.status.words}


#: The answer where the map has nothing to be searched.
NO_PLACE = PlaceAnswer(
    best=None, similarity=0.0, place=None, status=Status.EMPTY_MAP, confidence=0.0)


@dataclass(frozen=True, kw_only=True)
class NodeCounts:
    """
    What the node said of itself after the last answer.

    :param dropped: images its mailbox replaced by a newer one before they were looked at
    :param bad: images it could not decode
    :param times_ms: p50 and p95 of its last 200 images, e.g. ``inference_ms_p50``
    :param unmatched: answers that belong to no published image
    :param with_odometry: images for whose decision it knew how far the robot had moved
    """

    received: int
    processed: int
    dropped: int
    bad: int
    places: int
    descriptor_id: str
    transport: str
    unmatched: int
    with_odometry: int
    times_ms: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """An image with both answers."""

    image: PlayedImage
    live: PlaceAnswer
    offline: PlaceAnswer

    @property
    def same_best(self) -> bool:
        """Return whether both found the same place most similar."""
        return self.live.best == self.offline.best

    @property
    def same_decision(self) -> bool:
        """Return whether both believed in the same place and said the same of it."""
        return (self.live.place, self.live.status) == (self.offline.place, self.offline.status)

    def difference(self, name: str) -> float:
        """Return by how much ``similarity`` or ``confidence`` differ, as published (float32)."""
        live, offline = (getattr(answer, name) for answer in (self.live, self.offline))
        return abs(float(np.float32(live) - np.float32(offline)))


@dataclass(frozen=True, kw_only=True)
class JoinedAnswers:
    """
    All that was joined.

    :param images: all that were published
    :param pairs: images with both answers whose stamp is theirs alone
    :param same_stamp: answered images that share their stamp; which answer is whose is a guess
    :param no_frame: answers whose stamp the recording does not have
    :param fates: see :func:`fates_of`
    """

    images: tuple[PlayedImage, ...]
    pairs: tuple[AnswerPair, ...]
    same_stamp: int
    no_frame: int
    fates: Mapping[str, int | None]
    node: NodeCounts | None

    @property
    def differing(self) -> tuple[AnswerPair, ...]:
        """Return the pairs that do not agree on best place or decision."""
        return tuple(p for p in self.pairs if not (p.same_best and p.same_decision))

    def max_difference(self, name: str) -> float:
        """Return the largest difference of ``similarity`` or ``confidence``, 0 without pairs."""
        return max((pair.difference(name) for pair in self.pairs), default=0.0)

    def latency_ms(self) -> dict[str, float]:
        """Return percentiles from publishing to answer, in milliseconds; empty without any."""
        times = [image.latency_ms for image in self.images if image.latency_ms is not None]
        return metrics.percentiles(np.array(times), PERCENTILES) if times else {}

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        node = self.node
        return {
            **self.fates,
            'answers_without_image': self.no_frame + (node.unmatched if node else 0),
            'images_with_shared_stamp': self.same_stamp, 'compared': len(self.pairs),
            'same_best_place': sum(p.same_best for p in self.pairs),
            'same_decision': sum(p.same_decision for p in self.pairs),
            'max_similarity_difference': self.max_difference('similarity'),
            'max_confidence_difference': self.max_difference('confidence'),
            'accepted': {'live': sum(p.live.accepted for p in self.pairs),
                         'offline': sum(p.offline.accepted for p in self.pairs)},
            'with_odometry': node.with_odometry if node else None,
            'latency_ms': self.latency_ms(), 'node_ms': dict(node.times_ms) if node else {},
            'differing': [
                {'index': p.image.index, 'name': p.image.name, 'stamp_ns': p.image.stamp_ns,
                 'live': p.live.to_json(), 'offline': p.offline.to_json()}
                for p in self.differing]}


def keys_of(stamps_ns: Iterable[int]) -> list[Key]:
    """Return stamps with a number that tells equal ones apart, in the order given."""
    seen: Counter[int] = Counter()
    keys = []
    for stamp_ns in stamps_ns:
        keys.append((stamp_ns, seen[stamp_ns]))
        seen[stamp_ns] += 1
    return keys


def answered(images: Sequence[PlayedImage]) -> dict[Key, PlayedImage]:
    """Return the images that were answered, in the order given."""
    keys = keys_of(image.stamp_ns for image in images)
    return {key: image for key, image in zip(keys, images) if image.rows is not None}


def answer_of(image: PlayedImage) -> PlaceAnswer:
    """
    Return what the node answered to an image.

    :param image: one that was answered
    :raises SourceError: the recording is damaged there
    """
    try:
        first = max(image.rows or (), key=lambda row: float(row['similarity']), default=None)
        if first is None:
            return NO_PLACE
        return PlaceAnswer(
            best=int(first['keyframe_id']), similarity=float(first['similarity']),
            place=int(image.best['keyframe_id']), status=image.decision,
            confidence=float(image.best['confidence']))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f'the recorded answer to {image.name} is damaged ({error!r}); play the '
                          'source again') from error


def read_node_counts(recording: Path) -> NodeCounts | None:
    """
    Read what the node said of itself, beside the recording.

    :returns: None when there is no such file, or the node said nothing
    :raises SourceError: damaged file
    """
    values = read_report(recording)
    try:
        if not values or not values['diagnostics']:
            return None
        given, inference, places, matching = (
            values['diagnostics'][name] for name in ('input', 'inference', 'map', 'matching'))
        # Diagnostics hold text.
        return NodeCounts(
            received=int(given['received']), dropped=int(given['dropped']), bad=int(given['bad']),
            processed=int(inference['processed']), places=int(places['places']),
            descriptor_id=inference['descriptor_id'], transport=values['image_transport'],
            unmatched=int(values['unmatched_answers']),
            with_odometry=int(matching['with_odometry']),
            times_ms={name: float(text) for name, text in inference.items() if '_ms_p' in name})
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f'{report_path(recording)} is no report of the node ({error!r}); play the source '
            'again, or remove the file and do without the counts') from error


def join(
    images: Sequence[PlayedImage], offline: Mapping[Key, PlaceAnswer], frames: Iterable[Key],
    node: NodeCounts | None = None,
) -> JoinedAnswers:
    """
    Join the live answers with the offline ones by stamp.

    :param offline: answers to the images the node answered
    :param frames: all images of the recording
    :param node: its own counts, where known
    :raises SourceError: not one answer belongs to the recording
    """
    known, stamps = set(frames), Counter(image.stamp_ns for image in images)
    live = {key: (image, answer_of(image)) for key, image in answered(images).items()}
    own = [key for key in live if key in known]
    if live and not own:
        raise SourceError(
            f'none of the {len(live)} recorded answers has a stamp of the recording that is '
            'given as --query; name the source that was played, with the same --query-topic and '
            '--rate-hz')
    pairs = tuple(
        AnswerPair(image=live[key][0], live=live[key][1], offline=offline[key]) for key in own
        if stamps[key[0]] == 1)
    return JoinedAnswers(
        images=tuple(images), pairs=pairs, node=node, same_stamp=len(own) - len(pairs),
        no_frame=len(live) - len(own), fates=fates_of(len(images), len(live), node))


def fates_of(published: int, answered: int, node: NodeCounts | None) -> dict[str, int | None]:
    """
    Tell where the published images went; the parts add up to ``published``.

    The node counts since it was activated; counts that do not fit this playing alone (more
    received than were published) say nothing about it and are left out.

    :returns: ``answered``; ``dropped_by_mailbox``: replaced by a newer image, on purpose;
        ``refused`` by the node; ``lost_before_node``: by DDS, or replaced in the subscription's
        queue of one; ``unheard``: processed or under way at the end, but no answer arrived.
        All but the first are None where they are not known
    """
    fates: dict[str, int | None] = {'published': published, 'answered': answered, **dict.fromkeys(
        ('dropped_by_mailbox', 'refused', 'lost_before_node', 'unheard'))}
    if node is not None and node.processed <= node.received <= published:
        unheard = node.received - node.dropped - node.bad - answered
        if unheard >= 0:
            fates |= {'dropped_by_mailbox': node.dropped, 'refused': node.bad,
                      'lost_before_node': published - node.received, 'unheard': unheard}
    return fates
