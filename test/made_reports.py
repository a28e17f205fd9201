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

"""Reports made by hand: six queries, six places, and what was decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vpr_compressed.offline.measuring.recognition_run import ColdStart
from vpr_compressed.offline.measuring.recognition_run import QueryResult
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.records import Status

ReportMaker = Callable[..., Report]
PLACES = 6


def make_query(number: int, best: int, match_row: int | None) -> QueryResult:
    """Return the record of one query; what is withheld was believed, too."""
    status = Status.UNSURE if match_row is None else Status.ACCEPTED
    return QueryResult(
        index=number, name=f'<{number}>.png', stamp_ns=number, status=int(status),
        decided_row=best if match_row is None else match_row, decided_similarity=0.9,
        confidence=0.4 if match_row is None else 0.98,
        reason=f'{status.words}: place <{best}>', basis='walk', evidence={'belief': 1.5},
        inference_ms=10.0 + number, search_ms=1.0)


def make_measurement(best: list[int], matches: list[int | None]) -> RecognitionRun:
    """Return a measurement in which each query has a given best place."""
    rows = np.stack([np.roll(np.arange(PLACES), -first) for first in best])
    similarities = np.tile(np.linspace(0.9, 0.1, PLACES), (len(best), 1))
    similarities -= np.arange(len(best))[:, np.newaxis] / 100
    return RecognitionRun(
        queries=tuple(
            make_query(number, *each) for number, each in enumerate(zip(best, matches))),
        rows=rows, similarities=similarities, places=PLACES,
        reference_names=tuple(f'{i}.png' for i in range(PLACES)), reference_sha256='0' * 64,
        query_sha256='1' * 64, bytes_per_place=24.0, resident_bytes=100_000_000,
        thresholds={'walk': 0.961, 'single': 0.99},
        promises={'walk': {'0.9': 0.3, '0.99': 0.961}, 'single': {'0.99': 0.99}},
        cold_starts=tuple(
            ColdStart(start=start, images=2 if row is not None else None, match_row=row)
            for start, row in enumerate(matches[:3])))
