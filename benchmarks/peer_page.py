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


"""The page and the picture of :mod:`benchmarks.peers`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from datetime import timezone
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
import os
from typing import Any

from benchmarks.peer_scores import compare
from benchmarks.runtime import processor

from vpr_compressed.runtime.engines import DEFAULT

Row = dict[str, Any]
#: A tenth, as the claim has it.
_SHARE = 10
_PACKAGES = ('opencv-python-headless', 'numpy', 'torch', 'torchvision', 'scikit-image',
             'onnxruntime', 'faiss-cpu')
_CLAIM = ('ours at or above every peer in recall@1 on each shared set at a tenth of the bytes per '
          'place')


def as_markdown(found: Row) -> str:
    """Return the page."""
    rows = found['methods']
    lines = [
        '# Against what else one could take', '',
        'What a user would pick instead, made from libraries of PyPI, and the packaged models, on '
        'the same decoded images in one run. Made by', '',
        f'    {command(found)}', '', *_machine(found), '',
        'recall@1, as share of the queries; right means within two frames on Gardens Point (200 '
        'queries a set), the ground truth file on Corridor (111). One', 'standard error is 0.02 '
        'to 0.04 a set. "mean" is that of the sets.', '', *headline_table(found), '',
        '![recall@1 against bytes per place and against milliseconds](images/peers.png)', '',
        '## Is ours at or above every peer at a tenth of the bytes?', '', *account(rows), '',
        '## What they are', '', *_methods_table(found), '',
        '## All numbers', '',
        'precision@N counts the right places among the first N; with five right places to a '
        'query of Gardens Point, 0.5 is all that @10 can reach. "int8" is recall@1', 'with the '
        'places rounded to one byte a value as in our map (which rounds ours always).', '',
        *accuracy_table(found)]
    if any('cost' in row for row in rows):
        lines += ['', '## Time and memory', '', *_cost_words(found), '', *_cost_table(rows)]
    return '\n'.join([*lines, ''])


def command(found: Row) -> str:
    """Return the command that makes this page, with what differs from its defaults."""
    words = ['python -m benchmarks.peers --data DATA']
    if any(row['key'] == 'netvlad_float' for row in found['methods']):
        words.append('--parent out/train/model_fp32.vpr')
    words += [text for text, given in (
        ('--quick', found['quick']), (f'--engine {found["engine"]}', found[
            'engine'] != DEFAULT)) if given]
    return ' '.join(words)


def _machine(found: Row) -> list[str]:
    """Return on what it was measured."""
    texts = []
    for name in _PACKAGES:
        try:
            texts.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            continue
    busy = [] if not found['busy'] else [
        '', '**The machine had other work while this was measured**: compare the milliseconds '
        'with each other only.']
    return [f'on {datetime.now(timezone.utc):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, '
            f'{found["threads"]} threads each; {", ".join(texts)}; ours on {found["engine"]}.',
            *busy]


def headline_table(found: Row) -> list[str]:
    """Return the table at the top: recall@1, bytes and milliseconds."""
    names = list(found['methods'][0]['sets'])
    lines = ['| method | ' + ' | '.join(names) + ' | mean | bytes a place | ms an image | '
             'model MB | adds MB |', '|---' + '|--:' * (len(names) + 5) + '|']
    for row in found['methods']:
        cost = row.get('cost')
        cells = [_bold(row), *(f'{row["sets"][name]["recall"]["1"]:.3f}' for name in names),
                 f'{mean_recall(row):.3f}', _thousands(row['bytes_per_place']), *(
                     ['', '', ''] if cost is None else [
                         f'{cost["describe_ms_p50"]:.1f}', f'{cost["model_bytes"] / 1e6:.1f}',
                         f'{cost["added_bytes"] / 1e6:.0f}'])]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def account(rows: Sequence[Row]) -> list[str]:
    """Return whether the claim holds, and everything that speaks against it."""
    peers = [row for row in rows if not row['ours']]
    lines = [f'"{_CLAIM}": is it so?', '']
    for own in (row for row in rows if row['ours']):
        above = [(peer, name) for peer in peers for name in own['sets']
                 if _first(peer, name) > _first(own, name)]
        heavy = [peer for peer in peers
                 if peer['bytes_per_place'] >= _SHARE * own['bytes_per_place']]
        light = [peer for peer in peers if peer not in heavy]
        count = len(peers) * len(own['sets'])
        verdict = 'Yes' if not above and not light else 'No'
        lines += [
            f'**{own["name"]}: {verdict}.** At or above its peer in {count - len(above)} of '
            f'{count} comparisons ({len(peers)} peers, {len(own["sets"])} sets); a tenth of the '
            f'bytes or less of {len(heavy)} of {len(peers)} peers.', '']
        lines += [_against(own, peer, name) for peer, name in above]
        if light:
            lines.append('* Not ten times the bytes: ' + ', '.join(
                f'{peer["name"]} ({peer["bytes_per_place"] / own["bytes_per_place"]:.1f} times, '
                f'mean {mean_recall(peer):.3f} against {mean_recall(own):.3f})'
                for peer in light) + '.')
        lines += [*_cheaper(own, peers), '']
    return [*lines, *_rounding(rows)]


def _against(own: Row, peer: Row, name: str) -> str:
    """Return a set on which a peer is better, in words."""
    only_peer, only_own, chance = compare(
        peer['sets'][name]['wrong'], own['sets'][name]['wrong'])
    return (f'* {peer["name"]} on {name}: {_first(peer, name):.3f} against '
            f'{_first(own, name):.3f} ({only_peer} queries only it answers right, {only_own} '
            f'only ours; p = {chance:.2f}), with '
            f'{_times(peer["bytes_per_place"] / own["bytes_per_place"])} the bytes.')


def _cheaper(own: Row, peers: Sequence[Row]) -> list[str]:
    """Return what of its costs is lower for which peers, in words."""
    if 'cost' not in own:
        return []
    lines = []
    for text, name in (('Described faster', 'describe_ms_p50'), ('Looked up faster',
                       'search_ms_p50'), ('Less memory added', 'added_bytes')):
        found = [peer['name'] for peer in peers if peer['cost'][name] < own['cost'][name]]
        lines += [f'* {text}: {"; ".join(found)}.'] if found else []
    return lines


def _rounding(rows: Sequence[Row]) -> list[str]:
    """Return what the peers would take if they were stored as ours are."""
    flat = [row for row in rows if not row['ours'] and row['rounded_bytes'] is not None]
    lost = [mean_recall(row) - _mean([one['rounded_recall'] for one in row['sets'].values()])
            for row in flat]
    if not flat:
        return []
    worst = max(range(len(flat)), key=lambda index: lost[index])
    return [
        'A part of the bytes is not the descriptor but how it is kept: peers are counted as the '
        'float32 rows of a flat FAISS index (tiny images as their pixels), ours as',
        'the int8 rows of its map. Rounded as our map does it, peers take a quarter of that and '
        f'lose at most {100 * lost[worst]:.1f} points of mean recall@1 ({flat[worst]["name"]}).']


def _methods_table(found: Row) -> list[str]:
    """Return what each method is and what it was made from."""
    return [
        f'Vocabularies, centres and projections were fitted to {found["fit_images"]} images drawn '
        'from those our models were trained on (`gsv_cambridge` train and', '`ie_tower`), never '
        'to a walk that is measured. Images are decoded at their full size and brought to the '
        'size given here by each method itself.', '(`vpr_compressed evaluate` decodes large JPEGs '
        'at a half, so its numbers for ours differ in the last digit or two.)', '',
        '| method | what it is | dimensions | training data |', '|---|---|--:|---|',
        *(f'| {_bold(row)} | {row["summary"]} | {row["dimension"]} | {row["training"]} |'
          for row in found['methods'])]


def accuracy_table(found: Row) -> list[str]:
    """Return all accuracy numbers, a table for each set."""
    lines: list[str] = []
    for name in found['methods'][0]['sets']:
        lines += [f'### {name}', '',
                  '| method | recall@1 | @5 | @10 | mAP | precision@5 | @10 | int8 |',
                  '|---' + '|--:' * 7 + '|']
        for row in found['methods']:
            one = row['sets'][name]
            values = [*(one['recall'][n] for n in ('1', '5', '10')), one['mean_ap'],
                      *(one['precision'][n] for n in ('5', '10')), one['rounded_recall']]
            cells = ['' if value is None else f'{value:.3f}' for value in values]
            lines.append(f'| {_bold(row)} | ' + ' | '.join(cells) + ' |')
        lines.append('')
    return lines[:-1]


def _cost_words(found: Row) -> list[str]:
    """Return how time and memory were measured."""
    return [
        f'"describe" is from a decoded {found["camera"]} image in memory to its descriptor, '
        f'"search" the ten best of {found["places"]} places (those of one walk, repeated) on one '
        'thread: a flat', 'FAISS index, an inverted file in NumPy, or our map in memory with its '
        f'index. Medians of {found["rounds"]} images, all methods in turns. "process" is the '
        'resident memory of a', 'Python process with the method loaded and used, "adds" what it '
        'has gained over the same process before, "map" what it gains with the places.']


def _cost_table(rows: Sequence[Row]) -> list[str]:
    """Return milliseconds and memory."""
    lines = ['| method | describe ms p50 | p95 | search ms p50 | p95 | model or vocabulary MB | '
             'process MB | adds MB | map MB | bytes a place | in int8 | load s |',
             '|---' + '|--:' * 11 + '|']
    for row in rows:
        cost = row['cost']
        rounded = row['rounded_bytes']
        cells = [
            *(f'{cost[name]:.1f}' for name in ('describe_ms_p50', 'describe_ms_p95')),
            *(f'{cost[name]:.2f}' for name in ('search_ms_p50', 'search_ms_p95')),
            f'{cost["model_bytes"] / 1e6:.2f}', *(
                f'{cost[name] / 1e6:.0f}' for name in (
                    'process_bytes', 'added_bytes', 'map_bytes')),
            _thousands(row['bytes_per_place']), '' if rounded is None else _thousands(rounded),
            f'{cost["load_s"]:.1f}']
        lines.append(f'| {_bold(row)} | ' + ' | '.join(cells) + ' |')
    return lines


def mean_recall(row: Row) -> float:
    """Return the mean recall@1 over the sets."""
    return _mean([_first(row, name) for name in row['sets']])


def _first(row: Row, name: str) -> float:
    """Return recall@1 on a set."""
    return float(row['sets'][name]['recall']['1'])


def _bold(row: Row) -> str:
    """Return the name, ours in bold."""
    return f'**{row["name"]}**' if row['ours'] else str(row['name'])


def _thousands(value: float) -> str:
    """Return a number with spaces between thousands."""
    return f'{value:,.0f}'.replace(',', ' ')


def _times(ratio: float) -> str:
    """Return how many times, in words."""
    return f'{ratio:.0f} times' if ratio >= _SHARE else f'{ratio:.1f} times'


def _mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
