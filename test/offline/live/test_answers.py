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

"""Joining live and offline answers, with records written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpr_compressed.errors import SourceError
from vpr_compressed.offline.live import answers
from vpr_compressed.offline.live.answers import NodeCounts
from vpr_compressed.offline.live.answers import PlaceAnswer
from vpr_compressed.offline.reports import live_page
from vpr_compressed.records import Status
from vpr_compressed.sources.answer_log import PlayedImage
from vpr_compressed.sources.answer_log import read_images


def entry(
    stamp_ns: int, *places: int, status: Status = Status.UNSURE, first: float = 0.9, **more: Any
) -> dict[str, Any]:
    """Return a line of a recording, the believed place first; no place means no answer."""
    rows = [{'keyframe_id': place, 'similarity': 0.9 - 0.1 * rank if rank else first,
             'confidence': 0.5, 'status': 0 if rank else int(status)}
            for rank, place in enumerate(places)]
    return {'index': stamp_ns, 'name': f'{stamp_ns}.png', 'stamp_ns': stamp_ns, 'rows': rows,
            'published_s': 0.1 * stamp_ns, 'latency_ms': 10.0 * stamp_ns if places else None,
            'status': 'withheld' if places else 'unanswered', **more}


def record(folder: Path, *entries: dict[str, Any]) -> list[PlayedImage]:
    """Write lines and read them."""
    path = folder / 'answers.jsonl'
    path.write_text(''.join(json.dumps(e) + '\n' for e in entries), encoding='utf-8')
    return read_images(path)


def counts(**values: int) -> NodeCounts:
    """Return what a node has counted."""
    return NodeCounts(**{
        'received': 0, 'processed': 0, 'dropped': 0, 'bad': 0, 'places': 9, 'unmatched': 0,
        'with_odometry': 0, **values}, descriptor_id='x', transport='raw', times_ms={})


def offline(
    best: int, place: int | None = None, status: Status = Status.UNSURE, similarity: float = 0.9,
    confidence: float = 0.5
) -> PlaceAnswer:
    """Return an offline answer; the believed place is the most similar one if none is given."""
    return PlaceAnswer(best=best, similarity=similarity, place=best if place is None else place,
                       status=status, confidence=confidence)


def test_answers_are_joined_by_stamp_and_differences_are_named(tmp_path: Path) -> None:
    """Another best place, another belief, another reason and other numbers are four things."""
    published = record(
        tmp_path, entry(1, 4, 5), entry(2, 5), entry(3, 7, 6, status=Status.ACCEPTED), entry(4),
        entry(5, 8), entry(6, 9, status=Status.STANDING), entry(7, 3, 2, first=0.7))
    replayed = {
        (1, 0): offline(4), (2, 0): offline(6, place=5), (6, 0): offline(9),
        (3, 0): offline(7, place=6, status=Status.ACCEPTED),
        (5, 0): offline(8, similarity=0.875, confidence=0.25),
        (7, 0): offline(2, place=3, similarity=0.8)}
    found = answers.join(published, replayed, [(n, 0) for n in range(1, 8)])
    assert [p.same_best for p in found.pairs] == [True, False, True, True, True, True]
    assert [p.same_decision for p in found.pairs] == [True, True, False, True, False, True]
    assert [p.image.index for p in found.differing] == [2, 3, 6]
    assert found.max_difference('similarity') == pytest.approx(0.025, abs=1e-6)
    assert found.max_difference('confidence') == 0.25
    assert found.latency_ms()['p50'] == 40.0
    values = found.to_json()
    assert (values['compared'], values['same_best_place'], values['same_decision']) == (6, 5, 4)
    assert values['accepted'] == {'live': 1, 'offline': 1}
    assert [(each['live']['status'], each['offline']['status']) for each in values['differing']][
        -1] == ('not enough movement yet', 'not sure enough yet')
    json.dumps(values)
    assert values['dropped_by_mailbox'] is None
    assert dict(live_page.rows(values))['  lost before the node'].startswith('not known')


def test_no_place_to_compare_with_is_an_answer_too(tmp_path: Path) -> None:
    """An empty map, live and offline."""
    published = record(tmp_path, {**entry(1), 'status': 'unsearched', 'latency_ms': 1.0})
    found = answers.join(published, {(1, 0): answers.NO_PLACE}, [(1, 0)])
    assert (len(found.pairs), found.differing) == (1, ())


def test_odometry_that_only_the_node_had_is_said(tmp_path: Path) -> None:
    """It explains decisions that differ."""
    published, replayed = record(tmp_path, entry(1, 4)), {(1, 0): offline(4)}
    for count in (0, 7):
        found = answers.join(published, replayed, [(1, 0)], counts(with_odometry=count))
        assert dict(live_page.rows(found.to_json())).get('odometry') == (
            'drove 7 decisions live and none offline: they may differ' if count else None)


def test_fates_add_up() -> None:
    """Lost, dropped, refused and unheard are told apart by the counts of the node."""
    fates = answers.fates_of(20, 10, counts(received=17, processed=11, dropped=4, bad=2))
    assert fates == {'published': 10 + 3 + 4 + 2 + 1, 'answered': 10, 'lost_before_node': 3,
                     'dropped_by_mailbox': 4, 'refused': 2, 'unheard': 1}


@pytest.mark.parametrize('node', [
    None, counts(received=21, processed=10), counts(received=9, processed=9)])
def test_counts_that_do_not_fit_say_nothing(node: NodeCounts | None) -> None:
    """A node that saw other images too, or that reported before the end."""
    fates = answers.fates_of(20, 10, node)
    assert fates == {'published': 20, 'answered': 10, 'lost_before_node': None,
                     'dropped_by_mailbox': None, 'refused': None, 'unheard': None}


def test_images_of_one_stamp_are_not_compared(tmp_path: Path) -> None:
    """Nobody knows which answer is whose."""
    published = record(tmp_path, entry(1, 4), entry(1, 5), entry(2, 6))
    keys = answers.keys_of(image.stamp_ns for image in published)
    assert keys == [(1, 0), (1, 1), (2, 0)]
    found = answers.join(published, dict.fromkeys(keys, offline(6)), keys)
    assert (found.same_stamp, len(found.pairs), found.differing) == (2, 1, ())
    assert 'not compared' in dict(live_page.rows(found.to_json()))['shared stamps']


def test_answers_of_another_source(tmp_path: Path) -> None:
    """A few are counted; nothing but strangers is a mistake."""
    published = record(tmp_path, entry(1, 4), entry(9, 5))
    found = answers.join(published, {(1, 0): offline(4)}, [(1, 0), (2, 0)])
    assert (found.no_frame, len(found.pairs)) == (1, 1)
    with pytest.raises(SourceError, match='none of the 2 recorded answers'):
        answers.join(published, {}, [(7, 0)])


@pytest.mark.parametrize('text', ['', 'x', '{"stamp_ns": 1}\n', '[1]\n', '{"stamp_ns": 1'])
def test_what_is_no_recording_is_refused(text: str, tmp_path: Path) -> None:
    """In words."""
    path = tmp_path / 'a.jsonl'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(SourceError, match=r'a\.jsonl'):
        read_images(path)
    with pytest.raises(SourceError, match='cannot read'):
        read_images(tmp_path / 'none.jsonl')


def test_a_damaged_answer_is_named(tmp_path: Path) -> None:
    """A line whose rows are none."""
    rows = [[{'similarity': 0.5}], [{
        'similarity': 0.5, 'keyframe_id': 3, 'confidence': 0.5, 'status': 77}]]
    for row in rows:
        published = record(tmp_path, entry(1, 4, rows=row))
        with pytest.raises(SourceError, match=r'answer to 1\.png is damaged'):
            answers.join(published, {}, [(1, 0)])


def test_page_needs_no_answers_at_all(tmp_path: Path) -> None:
    """A node that never answers gives a page that says so, with names escaped."""
    found = answers.join(record(tmp_path, entry(1), entry(2)), {}, [(1, 0), (2, 0)])
    values = found.to_json()
    plot = live_page.latency_plot(values, [(p.published_s, p.latency_ms) for p in found.images])
    text = live_page.render(values, plot, {'command': 'a <b>'})
    assert '0 of 2' in text
    assert 'a &lt;b&gt;' in text
    assert '<script' not in text
    assert 'src="http' not in text
