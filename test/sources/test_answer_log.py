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

"""The log of a playing says what became of each image, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpr_compressed.errors import SourceError
from vpr_compressed.records import Status
from vpr_compressed.sources.answer_log import PlayedImage
from vpr_compressed.sources.answer_log import read_images
from vpr_compressed.sources.answer_log import write_images


def image(*statuses: int, answered: bool = True) -> PlayedImage:
    """Return an image whose answer has rows of these statuses."""
    rows: list[dict[str, Any]] = [
        {'keyframe_id': number, 'similarity': 0.5, 'confidence': 0.25, 'session': 1,
         'status': status} for number, status in enumerate(statuses, 1)]
    return PlayedImage(index=0, name='a.png', stamp_ns=5, published_s=0.0,
                       latency_ms=1.0 if answered else None, rows=rows if answered else None)


@pytest.mark.parametrize(('played', 'status', 'reason'), [
    (image(answered=False), 'unanswered', ''),
    (image(), 'unsearched', 'nothing in the map to compare with'),
    (image(1, 0), 'accepted', 'place accepted'),
    (image(2, 0), 'withheld', 'nothing known looks like this'),
    (image(3, 0), 'withheld', 'two places look alike'),
    (image(4), 'withheld', 'not enough movement yet'),
    (image(5, 0, 0), 'withheld', 'not sure enough yet')])
def test_the_log_says_what_became_of_an_image(
    played: PlayedImage, status: str, reason: str, tmp_path: Path
) -> None:
    """In a word, with the reason beside it, the same after reading."""
    path = tmp_path / 'a.jsonl'
    write_images(path, [played])
    entry = json.loads(path.read_text(encoding='utf-8'))
    assert (entry['status'], entry['reason']) == (status, reason)
    assert entry['keyframe_id'] == (1 if played.rows else None)
    assert read_images(path) == [played]
    assert read_images(path)[0].status == status


@pytest.mark.parametrize('status', [None, 'x', 77])
def test_a_row_without_a_known_status_is_refused(status: object) -> None:
    """A log of another program, or a damaged one."""
    played = image(1)
    played.rows[0]['status'] = status
    with pytest.raises(SourceError, match=r'answer to a\.png is damaged'):
        played.status  # noqa: B018


def test_the_first_row_is_the_believed_one() -> None:
    """Even where a candidate is more similar."""
    played = image(Status.UNSURE, 0)
    played.rows[1]['similarity'] = 0.9
    assert played.best['keyframe_id'] == 1
    assert played.decision is Status.UNSURE
    assert image().best == {}
