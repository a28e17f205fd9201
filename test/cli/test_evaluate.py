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

"""The verb evaluate, end to end with a real model file and real bags."""

from __future__ import annotations

from html.parser import HTMLParser
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.system import processes

PLOTS = {
    'walk.png', 'precision_recall.png', 'reliability.png', 'first_match.png', 'recall.png',
    'similarity.png', 'best_matches.png', 'worst_matches.png', 'latency.png'}
KEYS = {
    'recall', 'precision_at', 'map', 'queries', 'answerable_queries', 'places', 'latency_ms',
    'model_bytes', 'resident_bytes', 'model_resident_bytes', 'bytes_per_place', 'engine',
    'precision', 'descriptor_id', 'accepted_matches', 'auc_pr', 'command', 'versions',
    'ground_truth', 'machine', 'decision', 'warning', 'replay'}


def evaluate(reference: Path, query: Path, model: Path, *more: str) -> int:
    """Run the verb."""
    return main([
        'evaluate', '--reference', str(reference), '--query', str(query), '--model', str(model),
        *more])


def read_report(folder: Path) -> dict[str, Any]:
    """Return the content of the report file."""
    values: dict[str, Any] = json.loads((folder / 'report.json').read_text())
    return values


@pytest.fixture(scope='module')
def report_folder(
    walks: Path, tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of one finished evaluation."""
    folder = tmp_path_factory.mktemp('report')
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path,
                    '--tolerance-frames', '0', '--out', str(folder)) == 0
    return folder


def test_report_has_the_promised_keys(report_folder: Path) -> None:
    """Other programs rely on these names."""
    values = read_report(report_folder)
    assert set(values) >= KEYS
    assert set(values['recall']) == set(values['precision_at']) == {'1', '5', '10'}
    assert set(values['latency_ms']) == {'p50', 'p95', 'p99'}
    assert (values['queries'], values['answerable_queries'], values['places']) == (12, 12, 12)
    assert values['command'].startswith('python -m vpr_compressed evaluate --reference ')
    assert {'python', 'numpy'} <= set(values['versions'])


def test_numbers_are_plausible_and_agree_with_the_single_queries(
    report_folder: Path, tiny_model_path: Path
) -> None:
    """Recall is recounted from the listed candidates."""
    values = read_report(report_folder)
    entries = values['per_query']
    first = [entry['candidates'][0]['reference'] == entry['index'] for entry in entries]
    assert values['recall']['1'] == np.mean(first)
    assert values['recall']['1'] > 0.5, 'the noise is small, even random weights see through it'
    assert values['recall']['1'] <= values['recall']['5'] <= values['recall']['10'] <= 1
    assert values['model_bytes'] == tiny_model_path.stat().st_size
    assert 0 < values['latency_ms']['p50'] <= values['latency_ms']['p95']
    assert values['resident_bytes'] > 10_000_000
    accepted = [entry['match'] for entry in entries if entry['match']]
    assert values['accepted_matches']['accepted'] == len(accepted)
    assert values['accepted_matches']['correct'] == sum(match['correct'] for match in accepted)


@pytest.mark.parametrize('name', sorted(PLOTS))
def test_plots_are_real_pictures(name: str, report_folder: Path) -> None:
    """Large enough to read, and not blank."""
    image = cv2.imread(str(report_folder / name))
    assert image is not None
    assert min(image.shape[:2]) > 300
    assert image.std() > 5


class PageChecker(HTMLParser):
    """Collect what a page refers to and whether its tags are balanced."""

    VOID = ('meta', 'img', 'br')

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag and its addresses."""
        self.links += [value or '' for name, value in attrs if name in ('src', 'href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost tag is closed."""
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_no_network(report_folder: Path) -> None:
    """Every picture is in the page itself, and there is no script."""
    text = (report_folder / 'report.html').read_text()
    page = PageChecker()
    page.feed(text)
    assert page.open == []
    assert len(page.links) == len(PLOTS)
    assert all(link.startswith('data:image/png;base64,') for link in page.links)
    assert '<script' not in text
    assert 'width=device-width' in text
    assert 'python -m vpr_compressed evaluate' in text


def test_folder_and_bag_give_the_same_numbers_to_the_digit(
    report_folder: Path, walks: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Same pixels, same code, same accuracy; only times may differ."""
    assert evaluate(walks / 'day_bag', walks / 'night_bag', tiny_model_path,
                    '--tolerance-frames', '0', '--out', str(tmp_path)) == 0
    folder, bag = read_report(report_folder), read_report(tmp_path)
    for key in ('recall', 'precision_at', 'map', 'auc_pr', 'recall_curve'):
        assert folder[key] == bag[key]
    assert [entry['candidates'] for entry in folder['per_query']] == [
        entry['candidates'] for entry in bag['per_query']]
    for source in ('reference', 'query'):
        assert folder[source]['pixels_sha256'] == bag[source]['pixels_sha256']


def test_walk_against_itself_is_perfect(
    walks: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """
    Every query finds its own image; the decision names it, or once the one beside it.

    To this tiny network neighbours look nearly the same, and belief comes from the last images.
    """
    assert evaluate(walks / 'day', walks / 'day', tiny_model_path,
                    '--tolerance-frames', '0', '--out', str(tmp_path)) == 0
    values = read_report(tmp_path)
    assert values['recall'] == {'1': 1.0, '5': 1.0, '10': 1.0}
    assert values['map'] == values['auc_pr'] == values['max_recall_at_100_precision'] == 1.0
    accepted = values['accepted_matches']
    assert accepted['correct'] >= accepted['accepted'] - 1
    assert values['decision']['filtered_recall'] >= 11 / 12
    if not accepted['accepted']:
        assert 'none of 12 are accepted' in values['warning']


def test_ground_truth_file_and_positions_give_the_same_answers(
    walks: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Three ways of saying the same; only the last image of the route has no answer."""
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps({str(place): [place] for place in range(11)}))
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path, '--ground-truth', str(truth),
                    '--out', str(tmp_path / 'file')) == 0
    for name, offset in (('day', 0), ('night', 90)):
        (tmp_path / name).mkdir()
        lines = ['name,x_m,y_m']
        for place in range(12):
            image = walks / name / f'{place}.png'
            (tmp_path / name / image.name).write_bytes(image.read_bytes())
            lines.append(f'{image.name},{place * 10 + (offset if place == 11 else 0)},0')
        (tmp_path / name / 'poses.csv').write_text('\n'.join(lines))
    assert evaluate(tmp_path / 'day', tmp_path / 'night', tiny_model_path, '--radius-m', '4',
                    '--out', str(tmp_path / 'radius')) == 0
    file, radius = read_report(tmp_path / 'file'), read_report(tmp_path / 'radius')
    assert file['answerable_queries'] == radius['answerable_queries'] == 11
    assert file['recall'] == radius['recall']
    assert file['ground_truth'] == 'file truth.json'


def test_missing_ground_truth_option_is_explained(
    in_tmp_path: Path, walks: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The three choices are named with what each is for."""
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path) == 1
    error = capsys.readouterr().err
    for option in ('--tolerance-frames', '--radius-m', '--ground-truth'):
        assert option in error
    assert not (in_tmp_path / 'out' / 'evaluate' / 'report.json').exists()


def test_folder_with_other_files_is_refused(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody's pictures are overwritten, not even by name."""
    (tmp_path / 'recall.png').write_bytes(b'mine')
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path,
                    '--tolerance-frames', '0', '--out', str(tmp_path)) == 1
    assert 'not empty' in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ['recall.png']


def test_folder_that_cannot_be_made_is_refused(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the long work starts."""
    (tmp_path / 'file').write_text('in the way')
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path, '--tolerance-frames', '0',
                    '--out', str(tmp_path / 'file' / 'report')) == 1
    assert 'cannot write a report' in capsys.readouterr().err


def test_interrupt_leaves_the_earlier_report(
    walks: Path, tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: the files of the last complete run stay, and nothing else."""
    out, cache = tmp_path / 'out', tmp_path / 'cache'
    arguments = ('--tolerance-frames', '0', '--out', str(out), '--cache')
    assert evaluate(walks / 'day', walks / 'night', tiny_model_path, *arguments, str(cache)) == 0
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.Worker, 'ask', interrupted)
    assert evaluate(
        walks / 'day', walks / 'night', tiny_model_path, *arguments, str(tmp_path / 'no')) == 130
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before
    assert set(before) == PLOTS | {'report.html', 'report.json'}


@pytest.mark.parametrize(('reference', 'more', 'message'), [
    ('missing', [], 'does not exist'),
    ('.', [], 'no image'),
    ('stereo_bag', [], '2 image topics'),
    ('day', ['--reference-topic', '/left'], 'it has no topic'),
    ('day', ['--model', 'nowhere.vpr'], 'no model file at nowhere.vpr'),
])
def test_bad_input_is_one_clear_line(
    reference: str, more: list[str], message: str, walks: Path, tmp_path: Path,
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no report is written."""
    assert evaluate(walks / reference, walks / 'night', tiny_model_path, '--tolerance-frames',
                    '1', '--out', str(tmp_path), *more) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_radius_without_positions_is_explained(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy depends on the kind of the source."""
    for source, remedy in (('day', 'poses.csv'), ('day_bag', 'pose topic')):
        assert evaluate(walks / source, walks / source, tiny_model_path, '--radius-m', '5',
                        '--out', str(tmp_path)) == 1
        assert remedy in capsys.readouterr().err


def test_chosen_topic_is_used(walks: Path, tmp_path: Path, tiny_model_path: Path) -> None:
    """One camera of a stereo bag against the folder it was made of."""
    assert evaluate(walks / 'day', walks / 'stereo_bag', tiny_model_path, '--query-topic',
                    '/right', '--tolerance-frames', '0', '--out', str(tmp_path)) == 0
    values = read_report(tmp_path)
    assert values['recall']['1'] == 1.0
    assert '/right' in values['query']['description']
