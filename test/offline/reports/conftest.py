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

"""What the tests of the pages share."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from made_reports import make_measurement
from made_reports import PLACES
from made_reports import ReportMaker
from matplotlib.figure import Figure
from matplotlib.text import Text
import numpy as np
import pytest

from vpr_compressed.offline.accuracy.ground_truth import from_tolerance
from vpr_compressed.offline.accuracy.ground_truth import GroundTruth
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import Observation
from vpr_compressed.offline.measuring.recognition_run import UnknownWalk
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.reports import figures
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.evaluation import summarise
from vpr_compressed.sources import FolderSource


@pytest.fixture
def drawn_words(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that returns all words in the last picture, legend and ticks included."""
    finish, places = figures.finish, []

    def keep(*args: Any, **look: Any) -> Any:
        places.append(args[3])
        return finish(*args, **look)

    def words() -> list[str]:
        place = places[-1]
        figure = place if isinstance(place, Figure) else place.figure
        texts = [each.get_text() for each in figure.findobj(Text) if each.get_visible()]
        return [each for each in texts if each]

    monkeypatch.setattr(figures, 'finish', keep)
    return words


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """Return six images, wide and small in turns."""
    path = tmp_path / 'images'
    path.mkdir()
    for number in range(PLACES):
        size = (60, 800, 3) if number % 2 else (30, 40, 3)
        cv2.imwrite(str(path / f'{number}.png'), np.full(size, 40 * number, np.uint8))
    return FolderSource(path)


@pytest.fixture
def make_report(tmp_path: Path, source: FolderSource) -> ReportMaker:
    """Return a function that makes a report of six queries."""
    def make(
        best: list[int], matches: list[int | None], truth: GroundTruth | None = None, *,
        unknown: Sequence[UnknownWalk] = (), trial: Trial | None = None
    ) -> Report:
        model = tmp_path / 'model.vpr'
        model.write_bytes(b'model')
        described = EvaluatedModel(
            label='<tiny>', name='<tiny>', path=model, sha256='f' * 64, file_bytes=5,
            descriptor_id='feed', dimension=16, precision='int8', parameters=100,
            multiply_adds=2_000, engine='onnxruntime', threads=2)
        seen = Observation(
            measurement=replace(make_measurement(best, matches), unknown=tuple(unknown)),
            load_s=0.5,
            model_resident_bytes=30_000_000, measured='2026-01-01T00:00:00Z',
            others_cores=0.5)
        return summarise(
            seen, truth or from_tolerance(PLACES, PLACES, 0), described, source, source,
            command='vpr_compressed <evaluate>', trial=trial)

    return make


@pytest.fixture
def report(make_report: ReportMaker) -> Report:
    """Return a report with four right and two wrong best places, one wrong match."""
    return make_report([0, 1, 2, 3, 0, 1], [None, None, 2, 3, 0, None])
