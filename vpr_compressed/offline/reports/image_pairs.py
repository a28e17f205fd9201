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
The queries worth a look, with their images.

Of one model they are the wrong places it accepted, and its surest right and wrong answers to
single images; of several the queries that most of them get wrong, and those on which they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from dataclasses import field

import cv2
import numpy as np

from vpr_compressed.images.pixels import resize
from vpr_compressed.offline.accuracy.metrics import answerable
from vpr_compressed.offline.accuracy.metrics import FloatArray
from vpr_compressed.offline.reports.evaluation import Evaluation
from vpr_compressed.offline.reports.evaluation import Report
from vpr_compressed.offline.reports.page import described
from vpr_compressed.offline.reports.page import encoded
from vpr_compressed.records import ImageArray
from vpr_compressed.sources import ImageSource

#: Queries of a group, of one model and of several.
COUNT, COUNT_OF_SEVERAL = 4, 6
#: Different places shown per query.
PLACES = 3
#: Widest image, in pixels.
WIDTH = 360
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Tile:
    """
    One framed image with its text.

    :param kind: query, right, wrong, or solution for a right place that nobody found
    :param index: of the query, else of the place in the reference
    """

    kind: str
    index: int
    text: str


@dataclass(frozen=True)
class ShownQuery:
    """
    A query and the places to show beside it.

    :param tiles: the query; at most :data:`PLACES` different places that were found for it, those
        of most models first, and one more if only that is right; a right place if there is one
        and none of the found ones is
    :param hidden: how many further places were found
    """

    tiles: tuple[Tile, ...]
    hidden: int


@dataclass(frozen=True)
class QueryGroup:
    """
    Queries that are shown for the same reason.

    :param name: of a picture file
    :param caption: which queries they are, and what to see in their images
    """

    name: str
    title: str
    caption: str
    queries: tuple[ShownQuery, ...]


@dataclass(frozen=True)
class Gallery:
    """Groups of queries with the images to show them, by index."""

    groups: tuple[QueryGroup, ...] = ()
    queries: Mapping[int, ImageArray] = field(default_factory=dict)
    places: Mapping[int, ImageArray] = field(default_factory=dict)

    def image(self, tile: Tile) -> ImageArray:
        """Return the image of a tile, RGB."""
        return (self.queries if tile.kind == 'query' else self.places)[tile.index]

    def jpeg(self, tile: Tile) -> bytes:
        """Return the image of a tile for a page."""
        return encoded(self.image(tile), '.jpg', cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)


def fetch(evaluation: Evaluation, reference: ImageSource, query: ImageSource) -> Gallery:
    """Choose the queries and load their images, small; each source is read once."""
    groups = choose(evaluation)
    tiles = [tile for group in groups for each in group.queries for tile in each.tiles]
    asked = {tile.index for tile in tiles if tile.kind == 'query'}
    found = {tile.index for tile in tiles if tile.kind != 'query'}
    return Gallery(groups, load_images(query, asked), load_images(reference, found))


def choose(evaluation: Evaluation) -> tuple[QueryGroup, ...]:
    """Return the groups of queries, each query of a group from another stretch of the walk."""
    if len(evaluation.reports) > 1:
        return _contested(evaluation)
    return (*_wrong_accepts(evaluation.first), *_surest(evaluation))


def _wrong_accepts(report: Report) -> tuple[QueryGroup, ...]:
    """Return the surest wrong places that were accepted; no group where there are none."""
    queries = report.measurement.queries
    wrong = np.array([report.verdict(number) == 'wrong' for number in range(len(queries))])
    if not wrong.any():
        return ()
    sure = np.array([query.confidence for query in queries], np.float64)
    shown = []
    for number in _apart(np.where(wrong, sure, -np.inf), COUNT):
        row = queries[number].decided_row
        accepted = () if row is None else (
            Tile('wrong', row, f'place {row}, wrong: {sure[number]:.2f} sure'),)
        shown.append(ShownQuery(
            (_asked(report, number), *accepted, *_solution(report, number)), 0))
    return (QueryGroup('wrong_accepts.png', *described(
        'wrong_accepts', count=int(wrong.sum())), tuple(shown)),)


def _surest(evaluation: Evaluation) -> tuple[QueryGroup, QueryGroup]:
    """Return the surest right and the surest wrong answers of one model."""
    report = evaluation.first
    right, found = report.best_right, report.best_rows >= 0
    best, worst = (
        _pick(evaluation, np.where(found & kind, report.best_similarities, -np.inf), COUNT)
        for kind in (right, ~right))
    return (
        QueryGroup('best_matches.png', *described('best_matches'), best),
        QueryGroup('worst_matches.png', *described(
            'worst_matches', count=int((~right).sum())), worst))


def _contested(evaluation: Evaluation) -> tuple[QueryGroup, QueryGroup]:
    """Return the queries that most models get wrong, and those on which they differ."""
    counts, models = evaluation.wrong_counts, len(evaluation.reports)
    known = answerable(evaluation.first.truth.positives)
    margins = np.mean([margin(report) for report in evaluation.reports], axis=0)
    mostly, divided = known & (2 * counts > models), known & (counts > 0) & (counts < models)
    wrong = _pick(
        evaluation, np.where(mostly, counts + margins / 4, -np.inf), COUNT_OF_SEVERAL)
    # Where they differ, an even split says most.
    even = np.minimum(counts, models - counts) + np.abs(margins) / 4
    split = _pick(evaluation, np.where(divided, even, -np.inf), COUNT_OF_SEVERAL)
    return (
        QueryGroup('hardest.png', *described(
            'hardest', models=models, count=int(mostly.sum()), shown=bool(wrong)), wrong),
        QueryGroup('split.png', *described(
            'split', count=int(divided.sum()), shown=bool(split)), split))


def margin(report: Report) -> FloatArray:
    """
    Return how much surer a model is of its answer than of the best right place, ``(Q,)``.

    0 where the answer is right, 2 (the largest difference of two cosines) where no right place is
    ranked.
    """
    measured, best = report.measurement, report.best_similarities
    margins = np.zeros(len(measured.queries))
    for query, rows in enumerate(report.truth.positives):
        if rows and not report.best_right[query]:
            right = np.flatnonzero(np.isin(measured.rows[query], list(rows)))
            margins[query] = 2.0 if not len(right) else (
                best[query] - measured.similarities[query, right[0]])
    return margins


def spread(scores: FloatArray, count: int, gap: int) -> list[int]:
    """
    Return the indices of the largest finite scores that lie at least ``gap`` apart.

    Neighbouring frames look the same; four of them would show one place four times.
    """
    chosen: list[int] = []
    for index in np.argsort(-scores, kind='stable'):
        if len(chosen) == count or not np.isfinite(scores[index]):
            break
        if all(abs(int(index) - other) >= gap for other in chosen):
            chosen.append(int(index))
    return chosen


def load_images(source: ImageSource, wanted: AbstractSet[int]) -> dict[int, ImageArray]:
    """
    Return the wanted images of a source; it is read no further than needed.

    :returns: index -> RGB, at most :data:`WIDTH` pixels wide, in its proportions
    """
    images: dict[int, ImageArray] = {}
    for frame in source if wanted else ():
        if frame.index in wanted:
            image = frame.load()
            height, width = image.shape[:2]
            if width > WIDTH:
                image = resize(image, WIDTH, max(1, round(height * WIDTH / width)))
            images[frame.index] = image
        if len(images) == len(wanted):
            break
    return images


def _pick(evaluation: Evaluation, scores: FloatArray, count: int) -> tuple[ShownQuery, ...]:
    """Return the queries of the highest scores."""
    return tuple(_shown(evaluation, query) for query in _apart(scores, count))


def _apart(scores: FloatArray, count: int) -> list[int]:
    """Return the queries of the highest scores, far apart on the walk."""
    return spread(scores, count, max(2, len(scores) // (4 * count)))


def _asked(report: Report, query: int) -> Tile:
    """Return the tile of a query."""
    # A replay shows the images of a recording in another order.
    index, name = report.measurement.queries[query].index, report.measurement.queries[query].name
    # The name of a topic would say nothing new.
    return Tile('query', index, f'query {index}' if name.endswith(f'[{index}]') else (
        f'query {index}: {name}'))


def _solution(report: Report, query: int) -> tuple[Tile, ...]:
    """Return the tile of the right place that is ranked highest; none if there is none."""
    positives = report.truth.positives[query]
    if not positives:
        return ()
    ranked = report.measurement.rows[query].tolist()
    row = next((row for row in ranked if row in positives), min(positives))
    return (Tile('solution', row, f'right would be {row}'),)


def _shown(evaluation: Evaluation, query: int) -> ShownQuery:
    """Return one query with what was found for it."""
    first, positives = evaluation.first, evaluation.first.truth.positives[query]
    found: dict[int, list[str]] = {}
    for report in evaluation.reports:
        row, label = int(report.best_rows[query]), report.model.label
        if row >= 0:
            cosine = f'{report.best_similarities[query]:.3f}'
            found.setdefault(row, []).append(
                f'{label} {cosine}' if len(evaluation.reports) > 1 else cosine)
    rows = sorted(found, key=lambda row: (-len(found[row]), row))
    # A right one that somebody found must be seen.
    right = [row for row in rows if row in positives][:1]
    shown = rows[:PLACES] + [row for row in right if row not in rows[:PLACES]]
    kinds = ['right' if row in positives else 'wrong' for row in shown]
    tiles = [_asked(first, query), *(
        Tile(kind, row, f'place {row}, {kind}: {", ".join(found[row])}')
        for kind, row in zip(kinds, shown))]
    if not right:
        tiles.extend(_solution(first, query))
    return ShownQuery(tuple(tiles), len(rows) - len(shown))
