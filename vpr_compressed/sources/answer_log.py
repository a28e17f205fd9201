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
The log of a source that was played to a node: what was published and what came back.

It is a file of JSON objects, one a line for every image; beside it, as ``NAME.node.json``, lies
what the node said of itself on ``/diagnostics`` after the last answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from vpr_compressed.errors import SourceError
from vpr_compressed.records import Status

#: What became of an image: no answer, no place to compare with, a place withheld or accepted.
UNANSWERED, UNSEARCHED, WITHHELD, ACCEPTED = 'unanswered', 'unsearched', 'withheld', 'accepted'
_REPORT_FORMAT = 'vpr_compressed node report 1'
_REPORT_SUFFIX = '.node.json'
_BEST = ('keyframe_id', 'similarity', 'confidence', 'session')


@dataclass
class PlayedImage:
    """
    One image and what came back for it.

    :param published_s: when it was published, in seconds of any clock; of a file, after the first
    :param latency_ms: from publishing to the arrival of the answer, None without an answer
    :param rows: the believed place, then other candidates, the most similar first; None without
        an answer; numbers that do not exist are None
    :param pose: the published pose, None without one
    """

    index: int
    name: str
    stamp_ns: int
    published_s: float
    latency_ms: float | None = None
    rows: list[dict[str, Any]] | None = None
    pose: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """Unanswered, unsearched (no row), withheld, or accepted."""
        if self.rows is None:
            return UNANSWERED
        if not self.rows:
            return UNSEARCHED
        return ACCEPTED if self.decision is Status.ACCEPTED else WITHHELD

    @property
    def decision(self) -> Status:
        """
        What the decision said of the believed place.

        :raises SourceError: the row of an older or damaged log, which has no such status
        """
        if not self.rows:
            return Status.EMPTY_MAP
        try:
            return Status(int(self.best['status']))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f'the recorded answer to {self.name} is damaged ({error!r}); play '
                              'the source again') from error

    @property
    def best(self) -> dict[str, Any]:
        """The row of the believed place, an empty one where there is none."""
        return self.rows[0] if self.rows else {}


def write_images(path: Path, images: Iterable[PlayedImage]) -> None:
    """
    Write a log, whose times then begin with its first image.

    :raises SourceError: the file cannot be written
    """
    images = list(images)
    start_s = images[0].published_s if images else 0.0
    lines = [json.dumps({
        **asdict(image), 'status': image.status, 'rows': image.rows or [],
        'reason': '' if image.rows is None else image.decision.words,
        'published_s': image.published_s - start_s,
        **{key: image.best.get(key) for key in _BEST}}) + '\n' for image in images]
    _write(path, ''.join(lines))


def read_images(path: Path) -> list[PlayedImage]:
    """
    Read a log.

    :raises SourceError: missing, empty, cut off, or no such file
    """
    try:
        images = [_image(json.loads(line))
                  for line in path.read_text(encoding='utf-8').splitlines()]
    except OSError as error:
        raise SourceError(f'cannot read the recording {path}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f'{path} is no recording of the player ({error!r}); make one with '
            'replay.launch.py record_path:=FILE') from error
    if not images:
        raise SourceError(f'the recording {path} is empty: the player was ended before its first '
                          'image; play the source again')
    return images


def report_path(log: Path) -> Path:
    """Return where the report of a log lies: ``a.jsonl`` and ``a`` have ``a.node.json``."""
    return log.with_name(log.name.removesuffix('.jsonl') + _REPORT_SUFFIX)


def write_report(
    log: Path, diagnostics: Mapping[str, Mapping[str, str]], **facts: object
) -> None:
    """
    Write what the node said of itself beside a log.

    :param diagnostics: name of a part -> key -> text
    :param facts: of the playing: ``image_topic``, ``image_transport`` and ``unmatched_answers``
    :raises SourceError: the file cannot be written
    """
    values = {'format': _REPORT_FORMAT, **facts, 'diagnostics': diagnostics}
    _write(report_path(log), json.dumps(values, indent=1) + '\n')


def read_report(log: Path) -> dict[str, Any] | None:
    """
    Read what the node said of itself, beside a log.

    :returns: ``diagnostics`` and the facts, None when there is no such file
    :raises SourceError: damaged file
    """
    path = report_path(log)
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        found = values['format']
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = repr(error)
    if found != _REPORT_FORMAT:
        raise SourceError(
            f'{path} is no report of the node ({found} instead of {_REPORT_FORMAT!r}); play the '
            'source again, or remove the file and do without the counts')
    return values


def _image(entry: Mapping[str, Any]) -> PlayedImage:
    """Return one line of a log."""
    latency_ms = entry['latency_ms']
    return PlayedImage(
        index=int(entry['index']), name=str(entry['name']), stamp_ns=int(entry['stamp_ns']),
        published_s=float(entry['published_s']),
        latency_ms=None if latency_ms is None else float(latency_ms), pose=entry.get('pose'),
        rows=None if entry['status'] == UNANSWERED else list(entry['rows']))


def _write(path: Path, text: str) -> None:
    """Write a file."""
    try:
        path.write_text(text, encoding='utf-8')
    except OSError as error:
        raise SourceError(f'cannot write {path}: {error.strerror}') from error
