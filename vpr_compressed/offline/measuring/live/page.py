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

"""Numbers, picture and page of a comparison of live and offline answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vpr_compressed.offline.measuring.live.answers import Comparison
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.evaluation_report import MAX_ROWS
from vpr_compressed.offline.reports.page import Plot

FORMAT = 'vpr_compressed live 1'
PLOT_NAME = 'live_latency.png'


def to_json(found: Comparison, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as plain data."""
    fates, node = found.fates, found.node
    return {
        'format': FORMAT, **setting, 'published': fates.published, 'answered': fates.answered,
        'dropped_by_mailbox': fates.dropped, 'refused': fates.bad, 'lost_before_node': fates.lost,
        'unheard': fates.unheard, 'answers_without_image': found.no_frame + (
            node.unmatched if node else 0),
        'images_with_shared_stamp': found.same_stamp, 'compared': len(found.pairs),
        'same_best_place': sum(p.same_best for p in found.pairs),
        'same_decision': sum(p.same_decision for p in found.pairs),
        'max_similarity_difference': found.max_difference,
        'accepted': {'live': sum(p.live.accepted is not None for p in found.pairs),
                     'offline': sum(p.offline.accepted is not None for p in found.pairs)},
        'latency_ms': found.latency_ms(), 'node_ms': dict(node.times_ms) if node else {},
        'differing': [
            {'index': p.published.index, 'name': p.published.name,
             'stamp_ns': p.published.key[0], 'live': vars(p.live), 'offline': vars(p.offline)}
            for p in found.differing]}


def rows(found: Comparison) -> list[tuple[str, str]]:
    """Return the result as (name, value), for a terminal and for the page."""
    values, fates = to_json(found, {}), found.fates
    compared = len(found.pairs)

    def share(count: int) -> str:
        return f'{count} of {compared}' + (f' ({count / compared:.1%})' if compared else '')

    latency, node = values['latency_ms'], values['node_ms']
    result = [
        ('images published', str(fates.published)), ('  answered', str(fates.answered)),
        ('  dropped by the mailbox', _count(fates.dropped, 'a newer image came, on purpose')),
        ('  lost before the node', _count(fates.lost, 'DDS, or its queue of one image')),
        ('  refused by the node', _count(fates.bad, '')),
        ('  looked at, no answer heard', _count(fates.unheard, '')),
        ('same best place', share(values['same_best_place'])),
        ('same decision', f'{share(values["same_decision"])}, '
         f'accepted {values["accepted"]["live"]} live, {values["accepted"]["offline"]} offline'),
        ('similarity', f'differs by {found.max_difference:.2g} at most'),
        ('publishing to answer', _times(latency) or 'no answer'),
        ('in the node', ', '.join(
            f'{name} p50 {node[f"{key}_ms_p50"]:.1f} ms, p95 {node[f"{key}_ms_p95"]:.1f} ms'
            for name, key in (('inference', 'inference'), ('image to answer', 'total'))
            if f'{key}_ms_p50' in node) or 'not known')]
    if found.same_stamp:
        result.append(('shared stamps', f'{found.same_stamp} answers not compared: their stamp '
                       'belongs to several images; later decisions may differ for that reason'))
    if values['answers_without_image']:
        result.append(('answers without image', str(values['answers_without_image'])))
    return result


def latency_plot(found: Comparison) -> Plot:
    """Draw the time to the answer of each image, and the images without one."""
    figure, axes = figures.new_axes(3.4)
    done = [p for p in found.published if p.latency_ms is not None]
    missing = [p.published_s for p in found.published if p.latency_ms is None]
    axes.plot([p.published_s for p in done], [p.latency_ms or 0.0 for p in done], linewidth=0.8,
              marker='o', markersize=2.5, color=figures.RIGHT, label='answered')
    top = 1.15 * max((p.latency_ms or 0.0 for p in done), default=1.0)
    if missing:
        axes.vlines(missing, 0, 0.07 * top, color=figures.WRONG, linewidth=1.1,
                    label='no answer: dropped or lost')
    latency = found.latency_ms()
    for name, value in latency.items():
        axes.axhline(value, color=figures.INK, linewidth=0.8, linestyle=':')
        axes.annotate(f'{name} {value:.0f} ms', (1.0, value), (3, 0), color=figures.INK,
                      xycoords=('axes fraction', 'data'), textcoords='offset points', va='center',
                      fontsize=8.5, annotation_clip=False)
    axes.set(xlabel='time since the first image  [s]', ylabel='publishing to answer  [ms]',
             ylim=(0, top))
    axes.legend(loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none')
    fates = found.fates
    title = f'Live: {fates.answered} of {fates.published} images answered'
    title += f', half within {latency["p50"]:.0f} ms' if latency else ''
    figures.set_title(axes, title)
    split = '' if fates.dropped is None or not missing else (
        f' {fates.dropped} of them were dropped on purpose because a newer image came, '
        f'{fates.lost} never reached the node; the counts are known, not which is which.')
    ticks = ('no image is without one.' if not missing else 'an orange tick at the bottom is one '
             f'of {len(missing)} images without an answer.')
    return figures.finish(PLOT_NAME, title, (
        'Each dot is one answered image, from publishing it to the arrival of its answer; '
        f'{ticks}{split} A line that stays flat means that no queue builds up.'), figure)


def render(found: Comparison, plot: Plot, setting: Mapping[str, Any]) -> str:
    """Return the page: no network, no script."""
    pairs, latency = len(found.pairs), found.latency_ms()
    agreeing = pairs - len(found.differing)
    cards = [
        (f'{agreeing / pairs:.1%}' if pairs else 'none', 'of the answers equal the offline ones'),
        (f'{found.fates.answered} of {found.fates.published}', 'images answered'),
        ('unknown' if found.fates.dropped is None else str(found.fates.dropped),
         'dropped for a newer image'),
        (f'{latency["p50"]:.0f} ms' if latency else 'none', 'from image to answer, median')]
    return page.render(
        'live.html.j2', cards=cards, plot=plot, command=str(setting.get('command', '')),
        numbers=[(name.strip(), value) for name, value in rows(found)],
        differing=[(
            p.published.index, p.published.name, f'{p.live.best}, accepted {p.live.accepted}',
            f'{p.offline.best}, accepted {p.offline.accepted}', f'{p.difference:.2g}')
            for p in found.differing[:MAX_ROWS]],
        facts=[(name, str(value)) for name, value in setting.items()
               if isinstance(value, (str, int, float)) and name != 'command'])


def _times(values: Mapping[str, float]) -> str:
    """Return percentiles as text."""
    return ', '.join(f'{name} {value:.1f} ms' for name, value in values.items())


def _count(count: int | None, meaning: str) -> str:
    """Return a count that may be unknown."""
    if count is None:
        return 'not known: the node gave no counts that fit'
    return f'{count}  ({meaning})' if meaning and count else str(count)
