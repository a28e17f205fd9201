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

"""What the player hears back for each image, and what the node says of itself."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from dataclasses import asdict
import math
from pathlib import Path
import time
from typing import Any

import numpy as np

from vpr_compressed.errors import SourceError
from vpr_compressed.ros.conversions import matches_from_cloud
from vpr_compressed.sources import Frame
from vpr_compressed.sources.answer_log import ACCEPTED
from vpr_compressed.sources.answer_log import PlayedImage
from vpr_compressed.sources.answer_log import report_path
from vpr_compressed.sources.answer_log import UNANSWERED
from vpr_compressed.sources.answer_log import UNSEARCHED
from vpr_compressed.sources.answer_log import WITHHELD
from vpr_compressed.sources.answer_log import write_images
from vpr_compressed.sources.frames import stamp_to_ns
from vpr_compressed.sources.poses import decode_poses


class Recording:
    """Answers by stamp, in the order of publishing."""

    def __init__(self, path: Path | None) -> None:
        """
        Empty the file.

        :param path: overwritten; None keeps the answers in memory only
        :raises SourceError: the file cannot be written
        """
        self._path = path
        self._by_stamp: dict[int, list[PlayedImage]] = defaultdict(list)
        #: One per published image.
        self.images: list[PlayedImage] = []
        #: Answers that no image waited for.
        self.unmatched = 0
        if path is not None:
            try:
                path.write_bytes(b'')
                # What the node said while an earlier recording was made is not about this one.
                report_path(path).unlink(missing_ok=True)
            except OSError as error:
                raise SourceError(f'cannot write record_path {path}: {error.strerror}') from error

    def published(self, frame: Frame) -> None:
        """Note an image just before it is published."""
        image = PlayedImage(frame.index, frame.name, frame.stamp_ns, time.perf_counter())
        self.images.append(image)
        self._by_stamp[frame.stamp_ns].append(image)

    def matches(self, cloud: Any) -> None:
        """
        Take a ``~/matches`` message.

        Images that share a stamp get their answers in the order of publishing; an answer that
        no image waits for is counted in ``unmatched``.
        """
        waiting = [image for image in self._by_stamp[stamp_to_ns(cloud.header.stamp)]
                   if image.rows is None]
        if not waiting:
            self.unmatched += 1
            return
        waiting[0].latency_ms = (time.perf_counter() - waiting[0].published_s) * 1e3
        waiting[0].rows = [_row(row) for row in matches_from_cloud(cloud)]

    def pose(self, message: Any) -> None:
        """Take a ``~/pose`` message; one that is no pose is left out."""
        for stamp_ns, pose in decode_poses([message]):
            image = self._newest(stamp_ns)
            if image is not None:
                image.pose = asdict(pose)

    def answered(self, stamp_ns: int) -> bool:
        """Return whether the matches of an image are there."""
        image = self._newest(stamp_ns)
        return image is not None and image.rows is not None

    def pose_missing(self, stamp_ns: int) -> bool:
        """Return whether an accepted row has a pose that was not published yet."""
        image = self._newest(stamp_ns)
        return (image is not None and image.pose is None and image.status == ACCEPTED
                and image.best.get('x') is not None)

    def complete(self) -> bool:
        """Return whether the newest image is answered and no promised pose is missing."""
        return not self.images or (self.images[-1].rows is not None and not any(
            self.pose_missing(image.stamp_ns) for image in self.images))

    def summary(self) -> str:
        """Return counts, the reasons of what was withheld, and latency in one line."""
        counts = Counter(image.status for image in self.images)
        reasons = Counter(
            image.decision.words for image in self.images if image.status == WITHHELD)
        words = '; '.join(f'{count} {reason}' for reason, count in reasons.most_common())
        latencies = [image.latency_ms for image in self.images if image.latency_ms is not None]
        latency = (f', latency p50 {np.percentile(latencies, 50):.1f} ms, '
                   f'p95 {np.percentile(latencies, 95):.1f} ms' if latencies else '')
        return (f'{counts[ACCEPTED]} {ACCEPTED}, {counts[WITHHELD]} {WITHHELD}'
                f'{f" ({words})" if words else ""}, {counts[UNSEARCHED]} {UNSEARCHED}, '
                f'{counts[UNANSWERED]} {UNANSWERED}{latency}')

    def write(self) -> None:
        """
        Write the answers into the file, if there is one.

        :raises SourceError: the file cannot be written
        """
        if self._path is not None:
            write_images(self._path, self.images)

    def _newest(self, stamp_ns: int) -> PlayedImage | None:
        """Return the image published last with a stamp."""
        return next(reversed(self._by_stamp[stamp_ns]), None)


class NodeReport:
    """The newest diagnostics of the node that listens to one image topic."""

    def __init__(self, image_topic: str) -> None:
        """
        Know nothing yet.

        :param image_topic: resolved name; diagnostics of nodes that listen elsewhere are ignored
        """
        self._topic = image_topic
        #: Name of an entry, such as ``input`` -> key -> text.
        self.parts: dict[str, dict[str, str]] = {}

    def take(self, array: Any) -> None:
        """Take a ``DiagnosticArray``."""
        parts = {status.name.rpartition(': ')[2]: {v.key: v.value for v in status.values}
                 for status in array.status}
        if parts.get('input', {}).get('topic') == self._topic:
            self.parts = parts

    def covers(self, answers: int) -> bool:
        """Return whether the node has counted at least so many answers."""
        return int(self.parts.get('inference', {}).get('processed', -1)) >= answers


def _row(row: np.void) -> dict[str, Any]:
    """Return a row of the matches as plain data, NaN as None."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in zip(row.dtype.names or (), row.item())}
