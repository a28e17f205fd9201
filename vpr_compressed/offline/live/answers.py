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
import json
from pathlib import Path
from typing import Any

import numpy as np

from vpr_compressed.errors import SourceError

NODE_SUFFIX = '.node.json'
NODE_FORMAT = 'vpr_compressed node report 1'
PERCENTILES = (50, 95, 99)
#: Stamp in nanoseconds and how many images before it have the same one.
Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """
    What came out for one image, live or offline.

    :param best: keyframe that is most similar, None when the map knows none
    :param similarity: cosine to ``best``, as float32 as the node publishes it
    :param accepted: keyframe that was accepted, None when the answer was withheld
    """

    best: int | None
    similarity: float
    accepted: int | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """
    One image that was published, and the answer of the node.

    :param published_s: seconds after the first image
    :param latency_ms: from publishing to the answer's arrival at the player
    :param answer: None when there was none
    """

    key: Key
    index: int
    name: str
    published_s: float
    latency_ms: float | None
    answer: Answer | None


@dataclass(frozen=True, kw_only=True)
class NodeCounts:
    """
    What the node said of itself after the last answer.

    :param dropped: images its mailbox replaced by a newer one before they were looked at
    :param bad: images it could not decode
    :param times_ms: p50 and p95 of its last 200 images, e.g. ``inference_ms_p50``
    :param unmatched: answers that belong to no published image
    """

    received: int
    processed: int
    dropped: int
    bad: int
    places: int
    descriptor_id: str
    transport: str
    unmatched: int
    times_ms: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Fates:
    """
    Where the published images went; the parts add up to ``published``.

    :param answered: the answer arrived
    :param dropped: replaced in the node's mailbox by a newer image, on purpose; None unknown
    :param bad: refused by the node; None unknown
    :param lost: never reached the node's callback: lost by DDS, or replaced by a newer image in
        the subscription's queue of one; None unknown
    :param unheard: processed or under way at the end, but no answer arrived; None unknown
    """

    published: int
    answered: int
    dropped: int | None
    bad: int | None
    lost: int | None
    unheard: int | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image with both answers."""

    published: Published
    live: Answer
    offline: Answer

    @property
    def same_best(self) -> bool:
        """Return whether both found the same place most similar."""
        return self.live.best == self.offline.best

    @property
    def same_decision(self) -> bool:
        """Return whether both accepted the same place, or both none."""
        return self.live.accepted == self.offline.accepted

    @property
    def difference(self) -> float:
        """Return by how much the similarities differ, as the cosine is published (float32)."""
        return abs(float(np.float32(self.live.similarity) - np.float32(self.offline.similarity)))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    All that was joined.

    :param pairs: images with both answers whose stamp is theirs alone
    :param same_stamp: answered images that share their stamp; which answer is whose is a guess
    :param no_frame: answers whose stamp the recording does not have
    """

    published: tuple[Published, ...]
    pairs: tuple[Pair, ...]
    same_stamp: int
    no_frame: int
    fates: Fates
    node: NodeCounts | None

    @property
    def differing(self) -> tuple[Pair, ...]:
        """Return the pairs that do not agree on best place or decision."""
        return tuple(p for p in self.pairs if not (p.same_best and p.same_decision))

    @property
    def max_difference(self) -> float:
        """Return the largest difference of similarities, 0 without pairs."""
        return max((pair.difference for pair in self.pairs), default=0.0)

    def latency_ms(self) -> dict[str, float]:
        """Return percentiles from publishing to answer, in milliseconds; empty without any."""
        times = [p.latency_ms for p in self.published if p.latency_ms is not None]
        return {f'p{rank}': float(np.percentile(times, rank))
                for rank in PERCENTILES if times}


def keys_of(stamps_ns: Iterable[int]) -> list[Key]:
    """Return stamps with a number that tells equal ones apart, in the order given."""
    seen: Counter[int] = Counter()
    keys = []
    for stamp_ns in stamps_ns:
        keys.append((stamp_ns, seen[stamp_ns]))
        seen[stamp_ns] += 1
    return keys


def read_recording(path: Path) -> tuple[Published, ...]:
    """
    Read the answers a player has written, one JSON object a line.

    :raises SourceError: missing, empty, cut off, or no such file
    """
    try:
        entries = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
        keys = keys_of(int(entry['stamp_ns']) for entry in entries)
        published = tuple(_published(key, entry) for key, entry in zip(keys, entries))
    except OSError as error:
        raise SourceError(f'cannot read the recording {path}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f'{path} is no recording of the player ({error!r}); make one with '
            'replay.launch.py record_path:=FILE') from error
    if not published:
        raise SourceError(f'the recording {path} is empty: the player was ended before its first '
                          'image; play the source again')
    return published


def read_node_counts(recording: Path) -> NodeCounts | None:
    """
    Read what the node said of itself, beside the recording.

    :returns: None when there is no such file, or the node said nothing
    :raises SourceError: damaged file
    """
    path = recording.with_name(recording.name.removesuffix('.jsonl') + NODE_SUFFIX)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
        return _counts(values) if values['diagnostics'] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f'{path} is no report of the node ({error!r}); play the source again, '
                          'or remove the file and do without the counts') from error


def compare(
    published: Sequence[Published], offline: Mapping[Key, Answer], frames: Iterable[Key],
    node: NodeCounts | None = None,
) -> Comparison:
    """
    Join the live answers with the offline ones by stamp.

    :param offline: answers to the images the node answered
    :param frames: all images of the recording
    :param node: its own counts, where known
    :raises SourceError: not one answer belongs to the recording
    """
    known = set(frames)
    shared = {stamp for stamp, count in Counter(p.key[0] for p in published).items() if count > 1}
    answered = [p for p in published if p.answer is not None]
    strangers = [p for p in answered if p.key not in known]
    if answered and len(strangers) == len(answered):
        raise SourceError(
            f'none of the {len(answered)} recorded answers has a stamp of the recording that is '
            'given as --query; name the source that was played, with the same --query-topic and '
            '--rate-hz')
    own = [p for p in answered if p.key in known]
    pairs = tuple(
        Pair(published=p, live=p.answer, offline=offline[p.key]) for p in own
        if p.answer is not None and p.key[0] not in shared)
    return Comparison(
        published=tuple(published), pairs=pairs, node=node,
        same_stamp=sum(p.key[0] in shared for p in own), no_frame=len(strangers),
        fates=fates_of(len(published), len(answered), node))


def fates_of(published: int, answered: int, node: NodeCounts | None) -> Fates:
    """
    Tell apart where the images without an answer went.

    The node counts since it was activated; counts that do not fit this playing alone (more
    received than were published) say nothing about it and are left out.
    """
    lost = dropped = bad = unheard = None
    if node is not None and node.processed <= node.received <= published:
        lost, dropped, bad = published - node.received, node.dropped, node.bad
        unheard = node.received - dropped - bad - answered
        if unheard < 0:
            lost = dropped = bad = unheard = None
    return Fates(published=published, answered=answered, dropped=dropped, bad=bad, lost=lost,
                 unheard=unheard)


def _published(key: Key, entry: Mapping[str, Any]) -> Published:
    """Return one line of a recording."""
    latency = entry['latency_ms']
    answer = None
    if entry['status'] != 'unanswered':
        rows: Sequence[Mapping[str, Any]] = entry['rows']
        best = max(rows, key=lambda row: float(row['similarity']), default=None)
        accepted = [int(row['keyframe_id']) for row in rows if row['status'] == 1]
        answer = Answer(
            best=None if best is None else int(best['keyframe_id']),
            similarity=0.0 if best is None else float(best['similarity']),
            accepted=accepted[0] if accepted else None)
    return Published(
        key=key, index=int(entry['index']), name=str(entry['name']), answer=answer,
        published_s=float(entry['published_s']),
        latency_ms=None if latency is None else float(latency))


def _counts(values: Mapping[str, Any]) -> NodeCounts:
    """Return the node report; diagnostics hold text."""
    if values['format'] != NODE_FORMAT:
        raise ValueError(f'format {values["format"]!r} instead of {NODE_FORMAT!r}')
    parts = values['diagnostics']
    inference = parts['inference']
    return NodeCounts(
        received=int(parts['input']['received']), dropped=int(parts['input']['dropped']),
        bad=int(parts['input']['bad']), processed=int(inference['processed']),
        places=int(parts['map']['places']), descriptor_id=inference['descriptor_id'],
        transport=values['image_transport'], unmatched=int(values['unmatched_answers']),
        times_ms={name: float(text) for name, text in inference.items() if '_ms_p' in name})
