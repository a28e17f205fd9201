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


"""The comparison of benchmarks/peers.py: its numbers, its verdict, and a run on made-up data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
import sys
from typing import Any

from benchmarks import peer_page
from benchmarks import peer_picture
from benchmarks import peer_scores
from benchmarks import peers
from benchmarks.peer_registry import METHODS
from benchmarks.peer_worker import make_search
import cv2
import numpy as np
import pytest
import scipy  # noqa: F401
import torch  # noqa: F401

from vpr_compressed.offline.accuracy.ground_truth import from_tolerance

WALKS = ('gardens_point/day_left', 'gardens_point/day_right', 'gardens_point/night_right',
         'corridor/ref', 'corridor/query')


def unit_rows(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return random unit vectors, float32."""
    rows = rng.standard_normal((count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_scores_of_float_rows_by_hand() -> None:
    """Two of three queries find their place first, the third finds it second."""
    places = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0, 0.6]], np.float32)
    found = peer_scores.score(
        METHODS['hog'], places, queries, from_tolerance(3, 3, 0))
    assert found.recall == {1: pytest.approx(2 / 3), 5: 1.0, 10: 1.0}
    assert found.mean_ap == pytest.approx((1 + 1 + 0.5) / 3)
    assert found.precision[5] == pytest.approx(1 / 3)
    assert found.rounded_recall == pytest.approx(2 / 3)
    assert found.wrong == (2,)


def test_scores_of_words_are_those_of_the_l1_score() -> None:
    """By cosine the first place would win; the L1 score prefers the second."""
    places = np.array([[0.9, 0.1, 0.0], [0.5, 0.0, 0.5]], np.float32)
    query = np.array([[0.6, 0.0, 0.4]], np.float32)
    cosines = places @ query[0] / np.linalg.norm(places, axis=1)
    truth = from_tolerance(1, 2, 0)
    found = peer_scores.score(METHODS['orb_bow'], places[::-1].copy(), query, truth)
    assert found.recall[1] == 1.0
    assert found.rounded_recall is None
    assert peer_scores.score(
        METHODS['orb_bow'], places, query, truth).recall[1] == 0.0
    assert cosines.argmax() == 1


def test_places_come_back_as_a_map_keeps_them(rng: np.random.Generator) -> None:
    """One scale and a byte a value; an image without a descriptor stays zero."""
    rows = unit_rows(rng, 4, 16)
    rows[2] = 0.0
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127.0
    rounded = np.rint(rows / np.where(scale > 0, scale, 1.0))
    norms = np.linalg.norm(rounded, axis=1, keepdims=True)
    np.testing.assert_allclose(
        peer_scores.as_stored(rows), rounded / np.where(norms > 0, norms, 1.0), atol=1e-6)


def test_bytes_of_a_place() -> None:
    """Float rows, pixels, words with their weights, and a place of our map."""
    rows = np.zeros((2, 512), np.float32)
    rows[0, :3], rows[1, :7] = 0.1, 0.1
    expected = {'hog': 2048.0, 'tiny': 512.0, 'orb_bow': 8.0 * 5, 'default': 520.0}
    for key, size in expected.items():
        assert peer_scores.bytes_per_place(METHODS[key], rows) == size, key
    assert peer_scores.rounded_bytes(METHODS['hog'], rows) == 520.0


@pytest.mark.parametrize(('one', 'other', 'expected'), [
    ((), (), (0, 0, 1.0)),
    ((1, 2), (1, 2), (0, 0, 1.0)),
    ((), (1, 2, 3, 4, 5), (5, 0, 2 / 32)),
    ((7, 8), (8, 9), (1, 1, 1.0)),
])
def test_two_methods_are_compared_query_by_query(
    one: tuple[int, ...], other: tuple[int, ...], expected: tuple[int, int, float]
) -> None:
    """Five against none has a chance of 2 in 2 ** 5."""
    assert peer_scores.compare(one, other) == pytest.approx(expected)


@pytest.mark.parametrize('key', ['hog', 'orb_bow', 'default'])
def test_each_kind_of_map_finds_its_places(rng: np.random.Generator, key: str) -> None:
    """Repeated until there are enough places; the timed search answers as the scored one."""
    rows = np.abs(unit_rows(rng, 20, 32))
    if key == 'orb_bow':
        rows /= rows.sum(axis=1, keepdims=True)
    search = make_search(METHODS[key], rows, 60)
    for number in (3, 17):
        answer: Any = search(rows[number])
        if key == 'default':
            best = [one.keyframe.keyframe_id - 1 for one in answer]
        else:
            best = answer[1][0].tolist() if key == 'hog' else answer.tolist()
        assert {number, number + 20, number + 40} <= {*best}


def row_of(key: str, size: float, recall: float, wrong: tuple[int, ...]) -> dict[str, Any]:
    """Return what is known of a method, on one set."""
    return {
        'key': key, 'name': key, 'summary': 'a summary', 'training': 'none', 'dimension': 9,
        'ours': key == 'own', 'bytes_per_place': size, 'rounded_bytes': size / 4,
        'sets': {'day': {
            'recall': dict.fromkeys(('1', '5', '10'), recall), 'mean_ap': recall,
            'precision': dict.fromkeys(('1', '5', '10'), recall), 'rounded_recall': recall,
            'wrong': wrong}},
        'cost': {'describe_ms_p50': size / 100, 'describe_ms_p95': size, 'search_ms_p50': 0.1,
                 'search_ms_p95': 0.2, 'model_bytes': 1, 'added_bytes': 2, 'process_bytes': 3,
                 'map_bytes': 4, 'load_s': 0.5}}


def test_the_verdict_is_yes_only_if_nothing_speaks_against_it() -> None:
    """At or above everywhere, and a tenth of the bytes of every peer."""
    own = row_of('own', 100, 0.9, (1,))
    text = '\n'.join(peer_page.account([row_of('big', 1000, 0.9, (2,)), own]))
    assert '**own: Yes.** At or above its peer in 1 of 1' in text
    text = '\n'.join(peer_page.account([row_of('small', 999, 0.5, (2,)), own]))
    assert '**own: No.**' in text
    assert 'Not ten times the bytes: small (10.0 times' in text
    text = '\n'.join(peer_page.account([row_of('good', 5000, 0.95, ()), own]))
    assert '**own: No.** At or above its peer in 0 of 1' in text
    assert '* good on day: 0.950 against 0.900 (1 queries only it answers right, 0 only' in text
    assert '50 times the bytes' in text
    assert 'faster' not in text
    text = '\n'.join(peer_page.account([row_of('light', 50, 0.5, (2,)), own]))
    assert '* Described faster: light.' in text


def test_page_and_picture_show_every_method() -> None:
    """With and without times; the picture can be decoded."""
    found = {'methods': [row_of('big', 4000, 0.8, ()), row_of('own', 100, 0.9, ())],
             'places': 5, 'rounds': 3, 'threads': 1, 'engine': 'onnxruntime', 'fit_images': 7,
             'quick': False, 'busy': True, 'camera': '96x72'}
    page = peer_page.as_markdown(found)
    assert '| big | 0.800 | 0.800 | 4 000 | 40.0 |' in page
    assert '| **own** | 0.900 | 0.900 | 100 | 1.0 |' in page
    assert 'had other work' in page
    picture = cv2.imdecode(
        np.frombuffer(peer_picture.as_picture(found), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] > 900
    for row in found['methods']:
        del row['cost']
    assert '## Time and memory' not in peer_page.as_markdown(found)
    assert peer_picture.as_picture(found)


@pytest.fixture(scope='module')
def made_up_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder in the layout of the real one: eight places seen on every walk."""
    root, rng = tmp_path_factory.mktemp('data'), np.random.default_rng(3)
    places = [cv2.resize(rng.uniform(0, 255, (24, 32, 3)), (320, 240)) for _ in range(8)]
    for walk in WALKS:
        (root / walk).mkdir(parents=True)
        for number, place in enumerate(places):
            noisy = np.clip(place + rng.normal(0.0, 4.0, place.shape), 0, 255)
            cv2.imwrite(str(root / walk / f'Image{number:03}.png'), noisy.astype(np.uint8))
    (root / 'corridor' / 'ground_truth.json').write_text(
        json.dumps({str(number): [number] for number in range(8)}))
    for folder, name in (('gsv_cambridge', '{}_0.png'), ('ie_tower', 'clip_frame_{}.png')):
        (root / folder / 'images').mkdir(parents=True)
        for number, place in enumerate(places):
            cv2.imwrite(str(root / folder / 'images' / name.format(number)),
                        np.roll(place, 90, axis=1).astype(np.uint8))
    (root / 'gsv_cambridge' / 'panos.csv').write_text('pano,x_m,y_m,split\n' + ''.join(
        f'{number},{30 * number},0,train\n' for number in range(8)))
    return root


@pytest.fixture
def run(
    made_up_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a function that runs the program on made-up data and returns its exit status."""
    def call(*words: str, data: Path = made_up_data) -> int:
        monkeypatch.setattr(sys, 'argv', [
            'peers', '--data', str(data), '--out', str(tmp_path / 'out'), *words])
        return peers.main()
    return call


@pytest.mark.slow
def test_a_run_measures_and_keeps_what_it_has_described(run: Any, tmp_path: Path) -> None:
    """Peers and ours on every set; the second run describes nothing again, but times anew."""
    words = ('--only', 'tiny', 'orb_bow', 'default', '--fit-images', '10', '--rounds', '2',
             '--places', '40', '--threads', '1')
    assert run(*words) == 0
    found = json.loads((tmp_path / 'out' / 'peers.json').read_text())
    assert [one['key'] for one in found['methods']] == ['tiny', 'orb_bow', 'default']
    for one in found['methods']:
        assert len(one['sets']) == 4
        for name, scores in one['sets'].items():
            assert scores['recall']['1'] == 1.0, (one['key'], name)
        assert one['cost']['describe_ms_p50'] > 0.0
        assert one['cost']['process_bytes'] > one['cost']['added_bytes'] > 0
    assert found['methods'][2]['bytes_per_place'] == 520
    assert '**ours: default**' in (tmp_path / 'out' / 'benchmarks.md').read_text()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.np[yz]')}
    assert len(kept) == 3 * 6
    assert run(*words) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_is_missing_is_named(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of images, the weights of a trunk, the float parent; exit status 1."""
    assert run('--only', 'tiny', data=tmp_path) == 1
    assert 'day_left' in capsys.readouterr().err
    assert run('--only', 'gem_mobilenet') == 1
    assert 'mobilenet_v2_imagenet.safetensors: No such file' in capsys.readouterr().err
    assert run('--only', 'netvlad_float') == 1
    assert 'NetVLAD float needs' in capsys.readouterr().err


def test_a_damaged_image_is_named(
    run: Any, made_up_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the process that reads it, and what is whole is kept for the next run."""
    assert run('--only', 'tiny', '--rounds', '0') == 0
    capsys.readouterr()
    broken = made_up_data / 'corridor' / 'query' / 'Image003.png'
    whole = broken.read_bytes()
    try:
        broken.write_bytes(b'no image')
        assert run('--only', 'hog', '--rounds', '0') == 1
    finally:
        broken.write_bytes(whole)
    error = capsys.readouterr().err
    assert 'HOG thumbnails' in error
    assert 'Image003.png' in error
    assert len(list((tmp_path / 'out' / 'cache').glob('hog_*/gardens_point_*.npy'))) == 3


def test_interrupted_it_says_how_to_go_on(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with ctrl-C while a method is prepared."""
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(peers, 'prepare', interrupt)
    assert run('--only', 'tiny') == 130
    assert 'the same command goes on' in capsys.readouterr().err


def test_a_change_of_what_it_depends_on_makes_the_cache_worthless(
    made_up_data: Path, tmp_path: Path
) -> None:
    """The images it is fitted to, the number of images, and the weights."""
    weights = tmp_path / 'weights'
    weights.mkdir()
    file = weights / 'mobilenet_v2_imagenet.safetensors'
    file.write_bytes(b'one')
    materials = peers.Materials(weights=weights, parent=None, engine='onnxruntime', threads=1)
    method = METHODS['mobilenet_vlad']
    one, other = (str(tmp_path / name) for name in ('a.jpg', 'b.jpg'))
    for path in (one, other):
        Path(path).write_bytes(path[-5:].encode())
    marks = [peers.fingerprint(method, materials, [one], [one]),
             peers.fingerprint(method, materials, [other], [one]),
             peers.fingerprint(method, materials, [one], [other])]
    file.write_bytes(b'two')
    marks.append(peers.fingerprint(method, materials, [one], [one]))
    Path(one).write_bytes(b'changed')
    marks.append(peers.fingerprint(method, materials, [one], [one]))
    assert len(set(marks)) == 5
    gem = dataclasses.replace(METHODS['gem_mobilenet'])
    assert peers.fingerprint(gem, materials, [one], [one]) == peers.fingerprint(
        gem, materials, [other], [one])
