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

"""Picture of a training run: validation recall over the steps."""

from __future__ import annotations

import json
from pathlib import Path

from vpr_compressed.offline.reports import figures


def plot_training(log: Path, picture: Path) -> None:
    """
    Draw the log of a training run.

    :param log: ``log.jsonl`` of the ``train`` verb
    :param picture: PNG to write
    """
    records = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    figure, axes = figures.new_axes(3.8)
    for name in records[0]['recalls']:
        points = [(item['step'], item['recalls'][name]) for item in records if item['recalls']]
        axes.plot(*zip(*points), marker='o', markersize=3, label=name)
    best = [item['step'] for item in records if item['is_best']]
    if best:
        axes.axvline(best[-1], color='0.7', linestyle='--', label=f'kept (step {best[-1]})')
    axes.set(xlabel='optimiser step', ylabel='recall@1 on validation images', ylim=(0.0, 1.0))
    axes.legend(loc='lower right')
    title = 'Training: recall@1 on validation images'
    figures.set_title(axes, title)
    plot = figures.finish(picture.name, title, (
        'The kept weights are those with the highest mean recall over all sets.'), figure)
    picture.write_bytes(plot.png(caption=True))
