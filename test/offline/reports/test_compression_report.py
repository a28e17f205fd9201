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

"""The report of a compression: rows that survive JSON, honest words, a folder that is whole."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vpr_compressed.errors import VprError
from vpr_compressed.offline.accuracy.acceptance import Verdict
from vpr_compressed.offline.accuracy.agreement import RetrievalAgreement
from vpr_compressed.offline.accuracy.agreement import TeacherAgreement
from vpr_compressed.offline.accuracy.validation import SetScores
from vpr_compressed.offline.reports import compression_plots
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.compression_report import write_report
from vpr_compressed.offline.reports.compression_rows import PAPER
from vpr_compressed.offline.reports.compression_rows import ReportContext
from vpr_compressed.offline.reports.compression_rows import SensitivityRow
from vpr_compressed.offline.reports.compression_rows import size_sentence
from vpr_compressed.offline.reports.compression_rows import StepRow
from vpr_compressed.offline.reports.compression_rows import TensorRow
from vpr_compressed.system.terminal import duration

ROOT = Path(__file__).resolve().parents[3]
ACCEPTED = Verdict(accepted=True, reasons=(), kept=('All is well.',))
CONTEXT = ReportContext(title='<tiny>', command='vpr_compressed compress <x>', data='two <walks>',
                        settings={'seed': 3, 'recipe': {'name': '<r>'}}, target_ratio=10.0)


def tensor(name: str, shape: tuple[int, ...], **changes: float) -> TensorRow:
    """Return a tensor of float32."""
    count = int(np.prod(shape))
    row = TensorRow(name=name, shape=shape, zeros=0.0, levels=0, bits=32.0, file_bytes=4 * count,
                    bound_bytes=4.0 * count)
    return replace(row, **changes)  # type: ignore[arg-type]


def scores(recall: float, average: float) -> SetScores:
    """Return the scores of one set."""
    return SetScores(answerable=5, recall={1: recall, 5: 1.0, 10: 1.0},
                     precision={1: recall, 5: 0.4, 10: 0.2, 30: 0.1},
                     mean_average_precision=average)


def row(step: str = 'parent', *, ratio: float = 1.0, drop: float = 0.0) -> StepRow:
    """Return a row of a network with 100 weights in two layers."""
    return StepRow(
        step=step, options='<options>' if step != 'parent' else '', parameters=110,
        multiply_adds=2_000_000, file_bytes=round(440 / ratio) + 40,
        tensors=(tensor('stem.weight', (5, 4), file_bytes=round(80 / ratio)),
                 tensor('stem.bias', (5,), file_bytes=20),
                 tensor('netvlad.centers', (5, 1), file_bytes=round(20 / ratio)),
                 tensor('projection.weight', (8, 10), zeros=50.0, levels=5, bits=3.0,
                        file_bytes=round(320 / ratio))),
        entropy_bound_bytes=round(440 / ratio), parent_bytes=440,
        scores={'day': scores(0.9 - drop, 0.8 - drop), 'night': scores(0.7 - drop, 0.6 - drop)},
        latency_p50_ms=5.0, latency_p95_ms=7.0, resident_bytes=30_000_000,
        process_bytes=90_000_000, load_s=0.4, seconds=200.0, cosine=1.0 - drop)


def unlabelled(step: str, top1: float | None) -> StepRow:
    """Return a row of a run without labels."""
    found = None if top1 is None else TeacherAgreement(
        mean_cosine=None, low_cosine=None, lowest_cosine=None,
        within=RetrievalAgreement(queries=9, top1=top1, neighbours=0.5, depth=7))
    return replace(row(step), scores={}, agreement=found, cosine=None)


def test_rows_survive_json() -> None:
    """Also through text; the ratio is written for readers and computed again."""
    for item in (row('quantize', ratio=8.0), unlabelled('parent', None), unlabelled('x', 0.75)):
        values = json.loads(json.dumps(item.to_json(), allow_nan=False))
        assert values['ratio'] == pytest.approx(440 / item.file_bytes)
        assert StepRow.from_json(values) == item


@pytest.mark.parametrize(('change', 'message'), [
    ({'scores': {'day': {'recall': {}}}}, 'another version'),
    ({'speed': 3}, "no field 'speed'"),
    ({'file_bytes': 'many'}, 'file_bytes must be int'),
    ({'tensors': [{'name': 'x'}]}, 'TensorRow'),
])
def test_rows_of_another_version_are_refused(change: dict[str, object], message: str) -> None:
    """As from a checkpoint of an older program."""
    with pytest.raises(VprError, match=message):
        StepRow.from_json({**row().to_json(), **change})


def test_sums_over_layers_are_those_counted_by_hand() -> None:
    """80 of 110 weights have 3 bits and are half zeros."""
    item = row('quantize', ratio=8.0)
    assert item.ratio == pytest.approx(440 / 95)
    assert item.zeros == pytest.approx(50 * 80 / 110)
    assert item.bits == pytest.approx((3 * 80 + 32 * 30) / 110)
    assert item.recall == pytest.approx(0.8)
    assert item.mean_average_precision == pytest.approx(0.7)
    assert item.part_bytes() == {'trunk': 30, 'NetVLAD': 2, 'projection': 40, 'rest': 23}


def test_losses_are_points_against_the_first_row() -> None:
    """With labels mean average precision and recall@1; without, changed answers."""
    main, second, words = compression_plots.losses([row(), row('a', drop=0.02)])
    assert main is not None
    assert second is not None
    np.testing.assert_allclose([main, second], [[0, 2], [0, 2]], atol=1e-9)
    assert words[:2] == ('mean average precision', 'recall@1')
    main, second, _ = compression_plots.losses([unlabelled('parent', None), unlabelled('a', 0.75)])
    assert main is not None
    assert main.tolist() == [0.0, 25.0]
    assert second is None
    assert compression_plots.losses([unlabelled('parent', None)])[0] is None


def test_the_paper_is_copied_rightly() -> None:
    """Ratios of the table, as the authors round them."""
    ratios = [round(item.ratio, 1) for item in PAPER if item.network == 'VGG16']
    assert ratios == [1.0, 5.9, 8.1, 13.1, 24.4, 12.6, 25.0]
    ratios = [round(item.ratio, 1) for item in PAPER if item.network == 'AlexNet']
    assert ratios == [1.0, 6.0, 7.7, 12.4, 24.1, 12.7, 23.5]
    assert [item.drop for item in PAPER if item.bits == 5 and item.network == 'VGG16'] == (
        pytest.approx([2.9, 6.2]))


def test_a_missed_size_is_said_in_bytes() -> None:
    """440 bytes / 10 would be 44; the file has 95."""
    reached, text = size_sentence([row(), row('a', ratio=8.0)], CONTEXT)
    assert not reached
    assert 'target of 10 times is missed: the file is 51 bytes (115.9 %) too large' in text
    assert size_sentence([row()], replace(CONTEXT, target_ratio=0.5))[0]
    reached, text = size_sentence([row()], replace(CONTEXT, target_ratio=None))
    assert reached
    assert 'target' not in text


SENSITIVITY = tuple(SensitivityRow(name=name, level=level, score=level * len(name))
                    for name in ('stem.weight', 'projection.weight') for level in (0.5, 0.9))
RUNS = {
    'one row': [row()],
    'ten rows': [row(f'step{n}', ratio=1 + n // 2 * 6, drop=0.02 * (n % 2)) for n in range(10)],
    'no labels': [unlabelled('parent', None), unlabelled('a', 0.75)],
    'nothing measured': [unlabelled('parent', None)],
    'better than the parent': [row(), row('a', ratio=200.0, drop=-0.05)]}


@pytest.mark.parametrize('rows', RUNS.values(), ids=RUNS)
def test_every_kind_of_run_has_a_whole_report(rows: list[StepRow], tmp_path: Path) -> None:
    """Pictures, page and file; nothing on the page comes from elsewhere."""
    model = tmp_path / 'model.vpr'
    model.write_bytes(b'model')
    context = replace(
        CONTEXT, parent=model, sensitivity=SENSITIVITY, warnings=('Mind the <gap>.',))
    out = tmp_path / 'new' / 'out'
    page = write_report(out, rows, ACCEPTED, context)
    assert {path.name for path in out.iterdir()} == {
        'report.json', 'report.html', *compression_plots.NAMES}
    for name in compression_plots.NAMES:
        image = cv2.imread(str(out / name))
        assert image.shape[1] >= 900
        assert image.std() > 5
    text = page.read_text(encoding='utf-8')
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    for raw in ('<tiny>', '<x>', '<walks>', '<r>', '<gap>', '<options>'):
        assert raw not in text
    assert '&lt;tiny&gt;' in text
    values = json.loads((out / 'report.json').read_text(encoding='utf-8'))
    assert [StepRow.from_json(item) for item in values['rows']] == rows
    assert values['parent']['sha256'].startswith('9372c470')
    assert values['model'] is None
    assert values['command'] == 'vpr_compressed compress <x>'
    assert {'versions', 'machine', 'created'} <= values.keys()


def test_a_rejection_and_a_missed_size_stand_at_the_top(tmp_path: Path) -> None:
    """Before any number that looks good."""
    verdict = Verdict(accepted=False, reasons=('Recall fell too much.',), kept=('mAP is kept.',))
    text = write_report(tmp_path, [row(), row('a', ratio=8.0)], verdict, CONTEXT).read_text()
    top = text[:text.index('class="cards"')]
    assert 'Not accepted; no model was written.' in top
    assert '<li class="wrong">Recall fell too much.</li>' in top
    assert '<li class="wrong">The file has 95 bytes' in top
    assert '<li>mAP is kept.</li>' in top
    assert 'none written' in text
    text = write_report(tmp_path, [row(), row('a', ratio=8.0)], ACCEPTED, CONTEXT).read_text()
    assert 'Accepted, but larger than it was meant to be.' in text
    assert json.loads((tmp_path / 'report.json').read_text())['target_reached'] is False
    text = write_report(tmp_path, [row()], None, CONTEXT).read_text()
    assert 'Not judged yet' in text
    assert json.loads((tmp_path / 'report.json').read_text())['verdict'] is None


def test_a_report_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    """The folder also holds the model and the checkpoints; stale pictures go."""
    (tmp_path / 'model.vpr').write_bytes(b'x')
    write_report(tmp_path, [row()], None, replace(CONTEXT, sensitivity=SENSITIVITY))
    assert (tmp_path / 'sensitivity.png').exists()
    write_report(tmp_path, [row(), row('a')], None, CONTEXT)
    assert not (tmp_path / 'sensitivity.png').exists()
    assert (tmp_path / 'model.vpr').read_bytes() == b'x'
    assert len(json.loads((tmp_path / 'report.json').read_text())['rows']) == 2


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    """No rows, a number that is none, a model that is gone, a folder that is a file."""
    with pytest.raises(VprError, match='no rows'):
        write_report(tmp_path, [], None, CONTEXT)
    with pytest.raises(VprError, match='NaN or infinite'):
        write_report(tmp_path, [replace(row(), seconds=float('nan'))], None, CONTEXT)
    with pytest.raises(VprError, match=r'cannot read the model .*gone\.vpr'):
        write_report(tmp_path, [row()], None, replace(CONTEXT, model=tmp_path / 'gone.vpr'))
    (tmp_path / 'file').write_text('x')
    with pytest.raises(VprError, match='cannot write the report'):
        write_report(tmp_path / 'file', [row()], None, CONTEXT)
    assert not (tmp_path / 'report.json').exists()


def test_sensitivity_keeps_order_and_gaps() -> None:
    """Layers as they come, levels rising, NaN where nothing was measured."""
    rows = [SensitivityRow(name='b', level=0.9, score=3.0),
            SensitivityRow(name='a', level=0.5, score=1.0),
            SensitivityRow(name='b', level=0.5, score=2.0)]
    matrix, names, levels = compression_plots.sensitivity_matrix(rows)
    assert (names, levels) == (['b', 'a'], [0.5, 0.9])
    np.testing.assert_array_equal(matrix, [[2.0, 3.0], [1.0, np.nan]])


def test_large_networks_show_their_largest_layers() -> None:
    """In their own order, and the caption says how many are left out."""
    tensors = tuple(tensor(f'conv{n}.weight', (1, 500 - n if n % 2 else n + 1))
                    for n in range(compression_plots.MAX_LAYERS + 30))
    plot = compression_plots.layers_plot(replace(row(), tensors=tensors))
    limit = compression_plots.MAX_LAYERS
    assert f'{limit} largest of {limit + 30}' in plot.caption
    shown = compression_plots._largest(list(tensors))
    assert shown == [item for item in tensors if item in shown]
    assert len(shown) == compression_plots.MAX_LAYERS
    assert tensors[0] not in shown
    scan = tuple(SensitivityRow(name=item.name, level=0.5, score=float(n))
                 for n, item in enumerate(tensors))
    plot = compression_plots.sensitivity_plot(replace(CONTEXT, sensitivity=scan))
    assert 'are shown' in plot.caption


def test_numbers_of_the_steps_do_not_cover_each_other() -> None:
    """Ten steps at nearly one place."""
    figure, axes = figures.new_axes(4.0)
    ratios = np.full(10, 10.0) + np.arange(10) * 0.01
    compression_plots._scale(axes, ratios, [np.zeros(10)], CONTEXT)
    compression_plots._tag(axes, figure, ratios, [np.zeros(10)])
    places = np.array([text.xyann for text in axes.texts if text.get_text().isdigit()])
    assert len(places) == 10
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 99 * np.eye(10)
    assert apart.min() > 8


def test_times_are_said_as_people_say_them() -> None:
    """Seconds, minutes, hours."""
    assert [duration(value) for value in (3.2, 89, 100, 5400, 7300)] == [
        '3 s', '89 s', '2 min', '1 h 30 min', '2 h 02 min']


def test_the_rows_can_be_used_without_plotting() -> None:
    """A session imports them in its first second."""
    code = ('import sys, vpr_compressed.offline.reports.compression_report\n'
            'import vpr_compressed.offline.reports.compression_rows\n'
            'sys.exit("matplotlib" in sys.modules or "torch" in sys.modules)')
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, timeout=60, check=False)
    assert result.returncode == 0
