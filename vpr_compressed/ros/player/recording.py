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

"""What the player hears back for each image, as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass
import json
import math
from pathlib import Path
import time
from typing import Any
from typing import TextIO

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.ros.conversions import ACCEPTED
from vpr_compressed.ros.conversions import matches_from_cloud
from vpr_compressed.ros.conversions import stamp_to_ns
from vpr_compressed.ros.player.node_report import path_beside
from vpr_compressed.sources import Frame

#: Status of an image in the recording.
UNANSWERED, UNKNOWN, CANDIDATES, ACCEPTANCE = 'unanswered', 'unknown', 'candidate', 'accepted'


@dataclass
class Answer:
    """One image and what came back for it."""

    index: int
    name: str
    stamp_ns: int
    published_s: float
    latency_ms: float | None = None
    rows: list[dict[str, Any]] | None = None
    pose: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """Unanswered, unknown (no row), candidate, or accepted."""
        if self.rows is None:
            return UNANSWERED
        if not self.rows:
            return UNKNOWN
        return ACCEPTANCE if self.best['status'] == ACCEPTED else CANDIDATES

    @property
    def best(self) -> dict[str, Any]:
        """The accepted row, else the most similar one, else an empty one."""
        rows = self.rows or [{}]
        return next((row for row in rows if row.get('status') == ACCEPTED), rows[0])

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain data; numbers that do not exist are None."""
        best = {key: self.best.get(key) for key in (
            'keyframe_id', 'similarity', 'confidence', 'session')}
        return {'index': self.index, 'name': self.name, 'stamp_ns': self.stamp_ns,
                'status': self.status, **best, 'pose': self.pose,
                'latency_ms': self.latency_ms, 'rows': self.rows or []}


class Recording:
    """Answers by stamp, written to a file in the order of publishing."""

    def __init__(self, path: Path | None) -> None:
        """
        Open the file.

        :param path: overwritten; None keeps the answers in memory only
        :raises SourceError: the file cannot be written
        """
        self._answers: list[Answer] = []
        self._by_stamp: dict[int, list[Answer]] = {}
        self.unmatched = 0
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.expanduser().open('w', encoding='utf-8')
                # What the node said while an earlier recording was made is not about this one.
                path_beside(path.expanduser()).unlink(missing_ok=True)
            except OSError as error:
                raise SourceError(f'cannot write record_path {path}: {error.strerror}') from error

    def published(self, frame: Frame) -> None:
        """Note an image just before it is published."""
        answer = Answer(frame.index, frame.name, frame.stamp_ns, time.perf_counter())
        self._answers.append(answer)
        self._by_stamp.setdefault(frame.stamp_ns, []).append(answer)

    def matches(self, cloud: Any) -> None:
        """
        Take a ``~/matches`` message.

        Images that share a stamp get their answers in the order of publishing; an answer that
        no image waits for is counted in ``unmatched``.
        """
        waiting = [answer for answer in self._by_stamp.get(stamp_to_ns(cloud.header.stamp), ())
                   if answer.rows is None]
        if not waiting:
            self.unmatched += 1
            return
        waiting[0].latency_ms = (time.perf_counter() - waiting[0].published_s) * 1e3
        waiting[0].rows = [_row(row) for row in matches_from_cloud(cloud)]

    def pose(self, stamp_ns: int, message: Any) -> None:
        """Take a ``~/pose`` message."""
        answer = self._newest(stamp_ns)
        if answer is not None:
            place, turn = message.pose.pose.position, message.pose.pose.orientation
            answer.pose = {
                'frame_id': message.header.frame_id, 'position_m': [place.x, place.y, place.z],
                'orientation_xyzw': [turn.x, turn.y, turn.z, turn.w],
                'covariance_diagonal': [float(v) for v in message.pose.covariance[::7]]}

    def answered(self, stamp_ns: int) -> bool:
        """Return whether the matches of an image are there."""
        answer = self._newest(stamp_ns)
        return answer is not None and answer.rows is not None

    def pose_missing(self, stamp_ns: int) -> bool:
        """Return whether an accepted row has a pose that was not published yet."""
        answer = self._newest(stamp_ns)
        return (answer is not None and answer.pose is None and answer.status == ACCEPTANCE
                and answer.best.get('x') is not None)

    def complete(self) -> bool:
        """Return whether the newest image is answered and no promised pose is missing."""
        return not self._answers or (self._answers[-1].rows is not None and not any(
            self.pose_missing(answer.stamp_ns) for answer in self._answers))

    def answers(self) -> list[Answer]:
        """Return one answer per published image, in the order of publishing."""
        return list(self._answers)

    def summary(self) -> str:
        """Return counts and latency in one line."""
        counts = {name: sum(a.status == name for a in self._answers)
                  for name in (ACCEPTANCE, CANDIDATES, UNKNOWN, UNANSWERED)}
        latencies = [a.latency_ms for a in self._answers if a.latency_ms is not None]
        latency = (f', latency p50 {np.percentile(latencies, 50):.1f} ms, '
                   f'p95 {np.percentile(latencies, 95):.1f} ms' if latencies else '')
        return ', '.join(f'{count} {name}' for name, count in counts.items()) + latency

    def _newest(self, stamp_ns: int) -> Answer | None:
        """Return the image published last with a stamp."""
        answers = self._by_stamp.get(stamp_ns)
        return answers[-1] if answers else None

    def close(self) -> None:
        """Write the answers and close the file."""
        if self._file is not None:
            start_s = self._answers[0].published_s if self._answers else 0.0
            for answer in self._answers:
                self._file.write(json.dumps(
                    {**answer.to_json(), 'published_s': answer.published_s - start_s}) + '\n')
            self._file.close()
            self._file = None


def _row(row: np.void) -> dict[str, Any]:
    """Return a row of the matches as plain data, NaN as None."""
    plain = {name: row[name].item() for name in row.dtype.names or ()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in plain.items()}
