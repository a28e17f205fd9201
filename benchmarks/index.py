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
Measure the place index: recall against exact search, milliseconds and bytes per place.

Descriptors are made up (``random``: independent directions; ``walk``: a drive with neighbouring
places alike, variances as after partial whitening, and a common offset, as real ones have) or
read from a file. Queries are places seen again with noise. All candidates run on the same map
file, one query of each in turn, so that a busy machine disturbs them alike; CPU time is what a
query takes on an idle one. Run from the repository root: ``python -m benchmarks.index``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import tempfile
import time

import faiss
import numpy as np
from numpy.typing import NDArray

from vpr_compressed.place_map import index as index_module
from vpr_compressed.place_map.index import PlaceIndex
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.place_map.rows import encode_descriptor
from vpr_compressed.place_map.rows import insert_keyframe
from vpr_compressed.place_map.rows import insert_session
from vpr_compressed.place_map.rows import pose_to_row
from vpr_compressed.records import DescriptorArray

Search = Callable[[DescriptorArray, int], list[int]]


def main() -> None:
    """Make the map, run all candidates on it and print a table."""
    args = parse_arguments()
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    places, scale = descriptors(args, rng)
    queries = revisits(places, scale, args, rng)
    print(f'{len(places)} places, {places.shape[1]}-D, {args.vectors}, {len(queries)} queries, '
          f'noise {args.noise:g}, one thread')
    with tempfile.TemporaryDirectory(prefix='vpr_bench_') as folder:
        path = Path(folder) / 'map'
        fill(path, places)
        started = time.perf_counter(), time.process_time()
        with PlaceMap.open(path) as place_map:
            wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
            print(f'map file {path.stat().st_size / len(places):.0f} bytes per place, opened as '
                  f'{place_map.index_kind} in {wall_s:.2f} s ({cpu_s:.2f} s of CPU time)')
            report(candidates(place_map, places), places, queries, args.top_k)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--places', type=int, default=100_000, help='default %(default)s')
    parser.add_argument('--dimension', type=int, default=512, help='default %(default)s')
    parser.add_argument('--queries', type=int, default=200, help='default %(default)s')
    parser.add_argument('--top-k', type=int, default=5, help='default %(default)s')
    parser.add_argument('--vectors', choices=('random', 'walk'), default='walk',
                        help='kind of made-up descriptors, default %(default)s')
    parser.add_argument('--noise', type=float, default=1.5,
                        help='standard deviation of a revisit against that of the places, '
                             'default %(default)s')
    parser.add_argument('--descriptors', type=Path,
                        help='.npy of float descriptors (N, D) to use instead')
    parser.add_argument('--seed', type=int, default=0, help='default %(default)s')
    return parser.parse_args()


def descriptors(
    args: argparse.Namespace, rng: np.random.Generator
) -> tuple[DescriptorArray, NDArray[np.float64]]:
    """Return unit descriptors and the spread of each of their values."""
    if args.descriptors is not None:
        args.vectors = args.descriptors.name
        rows = np.load(args.descriptors, allow_pickle=False).astype(np.float32)
    else:
        rows = rng.standard_normal((args.places, args.dimension)).astype(np.float32)
    if args.vectors == 'walk':
        for i in range(1, len(rows)):  # neighbours have cosine 0.9
            rows[i] = 0.9 * rows[i - 1] + np.sqrt(1 - 0.81) * rows[i]
        rows = rows * ((1 + np.arange(rows.shape[1])) ** -0.5).astype(np.float32) + 0.02
    return unit(rows), rows.std(axis=0) / np.linalg.norm(rows, axis=1).mean()


def revisits(
    places: DescriptorArray, scale: NDArray[np.float64], args: argparse.Namespace,
    rng: np.random.Generator
) -> DescriptorArray:
    """Return noisy views of places drawn at random."""
    drawn = places[rng.integers(0, len(places), args.queries)]
    noise = args.noise * rng.standard_normal(drawn.shape) * scale
    return unit((drawn + noise).astype(np.float32))


def unit(rows: DescriptorArray) -> DescriptorArray:
    """Return rows of unit norm."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def fill(path: Path, places: DescriptorArray) -> None:
    """Store all places in one transaction (``PlaceMap.add`` makes one each, durably)."""
    with PlaceMap.create(path, descriptor_id='bench', dimension=places.shape[1]) as place_map, \
            place_map._file.transaction() as connection:  # noqa: SLF001
        session = insert_session(connection, 'bench')
        for i, row in enumerate(places):
            insert_keyframe(connection, (session, i, '', f'{i:06d}.jpg'), pose_to_row(None),
                            encode_descriptor(row, 'int8'))


def candidates(
    place_map: PlaceMap, places: DescriptorArray
) -> dict[str, tuple[Search, float]]:
    """Return name -> (search, bytes of memory per place)."""
    found: dict[str, tuple[Search, float]] = {}
    for kind in ('exact', 'compact'):
        for use_faiss in (True, False):
            index = PlaceIndex(places.shape[1], kind, use_faiss=use_faiss,
                               fetch=place_map._fetch, expected=len(places))  # noqa: SLF001
            index.add(np.arange(1, len(places) + 1), places)
            name = f'{kind}, {"FAISS" if use_faiss else "NumPy"}'
            found[name] = (searcher(index), index.nbytes / len(places))
    flat = faiss.IndexFlatIP(places.shape[1])
    flat.add(places)
    found['FAISS flat fp32'] = (faiss_searcher(flat), 4.0 * places.shape[1])
    if places.shape[1] % 8 == 0:
        found |= sign_candidates(place_map, places)
    return found


def sign_candidates(
    place_map: PlaceMap, places: DescriptorArray
) -> dict[str, tuple[Search, float]]:
    """Return what was weighed against the compact index: other one-bit forms, same re-rank."""
    dimension = places.shape[1]
    plain = faiss.IndexBinaryFlat(dimension)
    plain.add(np.packbits(places > 0, axis=1))
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((dimension, dimension)))[0]
    rotation = rotation.astype(np.float32)
    rabitq = faiss.IndexRaBitQ(dimension, faiss.METRIC_INNER_PRODUCT)
    rabitq.train(places[:20_000] @ rotation)
    rabitq.add(places @ rotation)

    def ranked(rows: NDArray[np.int64], query: DescriptorArray, k: int) -> list[int]:
        ids = rows[0] + 1
        similarities = place_map._fetch(ids) @ query  # noqa: SLF001
        return [int(i) for i in ids[np.argsort(-similarities)[:k]]]

    def by_signs(query: DescriptorArray, k: int) -> list[int]:
        code = np.packbits(query[np.newaxis] > 0, axis=1)
        return ranked(plain.search(code, index_module.RERANK)[1], query, k)

    def by_rabitq(query: DescriptorArray, k: int) -> list[int]:
        turned = query[np.newaxis] @ rotation
        return ranked(rabitq.search(turned, index_module.RERANK)[1], query, k)

    return {'signs, not rotated': (by_signs, dimension / 8 + 8),
            'RaBitQ, rotated': (by_rabitq, dimension / 8 + 16)}


def searcher(index: PlaceIndex) -> Search:
    """Return the ids an index finds."""
    return lambda query, k: [i for i, _ in index.search(query, k)]


def faiss_searcher(index: faiss.Index) -> Search:
    """Return the ids a FAISS index finds."""
    return lambda query, k: [int(i) + 1 for i in index.search(query[np.newaxis], k)[1][0]]


def report(
    found: dict[str, tuple[Search, float]], places: DescriptorArray, queries: DescriptorArray,
    k: int
) -> None:
    """Run one query of each candidate in turn, and print the table."""
    truth = np.stack([np.argsort(-(places @ query))[:k] + 1 for query in queries])  # (Q, k)
    best = [places[row[0] - 1] @ query for row, query in zip(truth, queries)]
    print(f'similarity of the most similar place: median {np.median(best):.2f}')
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    answers: dict[str, list[list[int]]] = {name: [] for name in found}
    for query in queries:
        for name, (search, _) in found.items():
            started = time.process_time(), time.perf_counter()
            answers[name].append(search(query, k))
            times[name].append(
                (time.process_time() - started[0], time.perf_counter() - started[1]))
    print(f'{"":20s} first kept  top {k} kept  CPU ms p50    p95  wall p50  bytes/place')
    for name, (_, size) in found.items():
        first = np.mean([got[0] == row[0] for got, row in zip(answers[name], truth)])
        kept = np.mean([len(set(got) & set(row.tolist())) / k
                        for got, row in zip(answers[name], truth)])
        cpu_ms, wall_ms = 1e3 * np.array(times[name]).T
        p50, p95 = np.percentile(cpu_ms, [50, 95])
        print(f'{name:20s} {first:10.3f} {kept:11.3f} {p50:11.2f} {p95:6.2f} '
              f'{np.median(wall_ms):9.2f} {size:12.1f}')


if __name__ == '__main__':
    main()
