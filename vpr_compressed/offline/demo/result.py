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

"""What came out of a run of the demo, for people."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_compressed.offline.demo.judged_answers import JudgedAnswers
from vpr_compressed.offline.demo.judged_answers import NodeAnswers
from vpr_compressed.offline.demo.judged_answers import Track
from vpr_compressed.system.terminal import human_bytes


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """
    What came out of a run.

    :param judged: the answers held against the truth; None where nobody knows it
    :param places: number of places in the map
    :param node_bytes: resident memory of the node at the end
    """

    reference: Track
    query: Track
    answers: NodeAnswers
    judged: JudgedAnswers | None
    places: int
    model_bytes: int
    map_bytes: int
    node_bytes: int

    def headline(self) -> str:
        """Return the result in one line."""
        if self.judged is None:
            return f'{int(self.answers.accepted.sum())} of {len(self.query)} images matched'
        count, known = self.judged.count, int(self.judged.known.sum())
        return (f'{count("right")} of {known} known places recognised, {count("wrong")} wrong, '
                f'{count("unknown")} of {len(self.query) - known} unknown ones withheld')

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of a table: what, and how much of it."""
        p50, p95 = (self.answers.latency_percentile_ms(level) for level in (50, 95))
        return [
            ('images', f'{len(self.reference)} mapped into {self.places} places, '
             f'{len(self.query)} looked up'),
            ('matches accepted', str(int(self.answers.accepted.sum()))), *self._verdict(),
            ('latency', f'p50 {p50:.0f} ms, p95 {p95:.0f} ms, from publishing an image to its '
             'answer'),
            ('model', human_bytes(self.model_bytes)), ('map file', human_bytes(self.map_bytes)),
            ('node memory', f'{human_bytes(self.node_bytes)} resident, ROS 2 included')]

    def _verdict(self) -> list[tuple[str, str]]:
        """Return the lines that need a truth."""
        if self.judged is None:
            return []
        count, known = self.judged.count, int(self.judged.known.sum())
        matches = self.judged.matches
        return [
            ('  right', f'{count("right")}  ({self.judged.rule})'),
            ('  wrong', str(count('wrong'))),
            ('withheld', f'{count("missed")} of {known} places in the map'),
            ('withheld, unknown', f'{count("unknown")} of {len(self.query) - known} places the '
             'map does not have'),
            ('precision', 'none' if matches.precision is None else f'{matches.precision:.1%}'),
            ('recall', f'{matches.recall:.1%}'),
            ('recall@1', f'{self.judged.recall_at_1:.1%} before agreement over time')]
