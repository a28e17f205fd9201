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
from vpr_compressed.offline.reports.page import Plot

#: Seconds after the first image when one was published, and milliseconds to its answer.
Times = Sequence[tuple[float, float | None]]


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the result as (name, value), for a terminal and for the page."""
    return page.table('live_numbers.txt.j2', values=values)


def latency_plot(values: Mapping[str, Any], times: Times) -> Plot:
    """Draw the time to the answer of each image, and the images without one."""
    _, axes = figures.new_axes(3.4)
    done = [(published_s, latency) for published_s, latency in times if latency is not None]
    missing = [published_s for published_s, latency in times if latency is None]
    axes.plot([entry[0] for entry in done], [entry[1] for entry in done], linewidth=0.8,
              marker='o', markersize=2.5, color=figures.RIGHT, label='answered')
    top = 1.15 * max((latency for _, latency in done), default=1.0)
    if missing:
        axes.vlines(missing, 0, 0.07 * top, color=figures.WRONG, linewidth=1.1,
                    label='no answer: dropped or lost')
    for name, value in values['latency_ms'].items():
        axes.axhline(value, color=figures.INK, linewidth=0.8, linestyle=':')
        axes.annotate(f'{name} {value:.0f} ms', (1.0, value), (3, 0), color=figures.INK,
                      xycoords=('axes fraction', 'data'), textcoords='offset points', va='center',
                      fontsize=8.5, annotation_clip=False)
    axes.set(xlabel='time since the first image  [s]', ylabel='publishing to answer  [ms]',
             ylim=(0, top))
    axes.legend(loc='upper left', fontsize=9, ncol=2, framealpha=0.85, edgecolor='none')
    return figures.finish('live_latency.png', *page.described(
        'live_latency', values=values, missing=len(missing)), axes)


def render(values: Mapping[str, Any], plot: Plot, setting: Mapping[str, Any]) -> str:
    """Return the page: no network, no script."""
    return page.render('live.html.j2', values=values, plot=plot, setting=setting,
                       numbers=rows(values), max_rows=page.MAX_ROWS)
