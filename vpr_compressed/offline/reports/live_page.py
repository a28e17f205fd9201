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
Numbers, picture and page of a comparison of live and offline answers.

They are made from the content of ``live.json``, see :meth:`.JoinedAnswers.to_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports import page
from vpr_compressed.offline.reports.evaluation_report import MAX_ROWS
from vpr_compressed.offline.reports.page import Plot

PLOT_NAME = 'live_latency.png'
#: Seconds after the first image when one was published, and milliseconds to its answer.
Times = Sequence[tuple[float, float | None]]


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the result as (name, value), for a terminal and for the page."""
    compared = values['compared']

    def share(count: int) -> str:
        return f'{count} of {compared}' + (f' ({count / compared:.1%})' if compared else '')

    latency, node = values['latency_ms'], values['node_ms']
    result = [
        ('images published', str(values['published'])), ('  answered', str(values['answered'])),
        ('  dropped by the mailbox', _count(
            values['dropped_by_mailbox'], 'a newer image came, on purpose')),
        ('  lost before the node', _count(
            values['lost_before_node'], 'DDS, or its queue of one image')),
        ('  refused by the node', _count(values['refused'], '')),
        ('  looked at, no answer heard', _count(values['unheard'], '')),
        ('same best place', share(values['same_best_place'])),
        ('same decision', f'{share(values["same_decision"])}, '
         f'accepted {values["accepted"]["live"]} live, {values["accepted"]["offline"]} offline'),
        ('similarity', f'differs by {values["max_similarity_difference"]:.2g} at most'),
        ('publishing to answer', _times(latency) or 'no answer'),
        ('in the node', ', '.join(
            f'{name} p50 {node[f"{key}_ms_p50"]:.1f} ms, p95 {node[f"{key}_ms_p95"]:.1f} ms'
            for name, key in (('inference', 'inference'), ('image to answer', 'total'))
            if f'{key}_ms_p50' in node) or 'not known')]
    if shared := values['images_with_shared_stamp']:
        result.append(('shared stamps', f'{shared} answers not compared: their stamp belongs to '
                       'several images; later decisions may differ for that reason'))
    if values['answers_without_image']:
        result.append(('answers without image', str(values['answers_without_image'])))
    return result


def latency_plot(values: Mapping[str, Any], times: Times) -> Plot:
    """Draw the time to the answer of each image, and the images without one."""
    figure, axes = figures.new_axes(3.4)
    done = [(published_s, latency) for published_s, latency in times if latency is not None]
    missing = [published_s for published_s, latency in times if latency is None]
    axes.plot([entry[0] for entry in done], [entry[1] for entry in done], linewidth=0.8,
              marker='o', markersize=2.5, color=figures.RIGHT, label='answered')
    top = 1.15 * max((latency for _, latency in done), default=1.0)
    if missing:
        axes.vlines(missing, 0, 0.07 * top, color=figures.WRONG, linewidth=1.1,
                    label='no answer: dropped or lost')
    latency = values['latency_ms']
    for name, value in latency.items():
        axes.axhline(value, color=figures.INK, linewidth=0.8, linestyle=':')
        axes.annotate(f'{name} {value:.0f} ms', (1.0, value), (3, 0), color=figures.INK,
                      xycoords=('axes fraction', 'data'), textcoords='offset points', va='center',
                      fontsize=8.5, annotation_clip=False)
    axes.set(xlabel='time since the first image  [s]', ylabel='publishing to answer  [ms]',
             ylim=(0, top))
    axes.legend(loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none')
    title = f'Live: {values["answered"]} of {values["published"]} images answered'
    title += f', half within {latency["p50"]:.0f} ms' if latency else ''
    figures.set_title(axes, title)
    dropped, lost = values['dropped_by_mailbox'], values['lost_before_node']
    split = '' if dropped is None or not missing else (
        f' {dropped} of them were dropped on purpose because a newer image came, '
        f'{lost} never reached the node; the counts are known, not which is which.')
    ticks = ('no image is without one.' if not missing else 'an orange tick at the bottom is one '
             f'of {len(missing)} images without an answer.')
    return figures.finish(PLOT_NAME, title, (
        'Each dot is one answered image, from publishing it to the arrival of its answer; '
        f'{ticks}{split} A line that stays flat means that no queue builds up.'), figure)


def render(values: Mapping[str, Any], plot: Plot, setting: Mapping[str, Any]) -> str:
    """Return the page: no network, no script."""
    pairs, latency = values['compared'], values['latency_ms']
    agreeing = pairs - len(values['differing'])
    cards = [
        (f'{agreeing / pairs:.1%}' if pairs else 'none', 'of the answers equal the offline ones'),
        (f'{values["answered"]} of {values["published"]}', 'images answered'),
        ('unknown' if values['dropped_by_mailbox'] is None else str(values['dropped_by_mailbox']),
         'dropped for a newer image'),
        (f'{latency["p50"]:.0f} ms' if latency else 'none', 'from image to answer, median')]
    return page.render(
        'live.html.j2', cards=cards, plot=plot, command=str(setting.get('command', '')),
        numbers=[(name.strip(), value) for name, value in rows(values)],
        differing=[(
            entry['index'], entry['name'], f'{live["best"]}, accepted {live["accepted"]}',
            f'{offline["best"]}, accepted {offline["accepted"]}',
            f'{abs(live["similarity"] - offline["similarity"]):.2g}')
            for entry in values['differing'][:MAX_ROWS]
            for live, offline in [(entry['live'], entry['offline'])]],
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
