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

"""Picture of a training run: validation recall and loss over the steps."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402


def plot_training(log: Path, picture: Path) -> None:
    """
    Draw the log of a training run.

    :param log: ``log.jsonl`` of the ``train`` verb
    :param picture: PNG to write
    """
    records = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout='constrained')
    for name in records[0]['recalls']:
        points = [(item['step'], item['recalls'][name]) for item in records if item['recalls']]
        axis.plot(*zip(*points), marker='o', markersize=3, label=name)
    best = [item['step'] for item in records if item['is_best']]
    if best:
        axis.axvline(best[-1], color='0.7', linestyle='--', label=f'kept (step {best[-1]})')
    axis.set(xlabel='optimiser step', ylabel='recall@1 on validation images', ylim=(0.0, 1.0),
             title='Training: the kept weights are those with the highest mean recall')
    axis.grid(alpha=0.3)
    axis.legend(loc='lower right')
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
