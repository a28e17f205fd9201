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
Measure what the decision costs: milliseconds per image with and without the search, and memory.

The map is a made-up drive whose neighbouring places are alike (cosine 0.9); walks start at
random places and see every place again with noise. Descriptors fetched from the map file count
as decision, only ``PlaceMap.nearest`` as search. Milliseconds are CPU time, which is what an
image takes on an idle machine. Run from the repository root:
``OMP_NUM_THREADS=1 python -m benchmarks.decision --places 1000 10000 100000``; a million places
take 0.7 GB of disk and some minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import cProfile
from pathlib import Path
import pstats
import tempfile
import time

from benchmarks.index import unit
import numpy as np

from vpr_compressed.decision.decider import PlaceDecider
from vpr_compressed.model_file.calibration import DecisionCalibration
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.place_map.rows import encode_descriptor
from vpr_compressed.place_map.rows import insert_keyframe
from vpr_compressed.place_map.rows import insert_session
from vpr_compressed.place_map.rows import pose_to_row
from vpr_compressed.records import DescriptorArray
from vpr_compressed.system.memory import resident_bytes

DIMENSION = 512
#: Cosine of neighbouring places, and length of the noise of a revisit against that of a place.
NEIGHBOURS, NOISE = 0.9, 0.8
#: Places of one mapping run.
SESSION = 5000


def main() -> None:
    """Make the maps, walk on each and print a table."""
    args = parse_arguments()
    print(f'{DIMENSION}-D, {args.walks} walks of {args.images} images, CPU time\n'
          f'{"":>9s} {"decision ms":>15s} {"search ms":>15s} {"both":>6s} {"first":>7s} '
          f'{"memory":>7s} {"":>10s} {"right":>6s}\n{"places":>9s} {"p50":>7s} {"p95":>7s} '
          f'{"p50":>7s} {"p95":>7s} {"p50":>6s} {"ms":>7s} {"MB":>7s} {"index":>10s}')
    for places in args.places:
        with tempfile.TemporaryDirectory(prefix='vpr_bench_') as folder:
            path = Path(folder) / 'map'
            fill(path, drive(places, np.random.default_rng(args.seed)))
            with PlaceMap.open(path) as place_map:
                measure(place_map, args)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--places', type=int, nargs='+', default=[1_000, 10_000, 100_000],
                        help='sizes of the maps, default %(default)s')
    parser.add_argument('--walks', type=int, default=10, help='default %(default)s')
    parser.add_argument('--images', type=int, default=60, help='per walk, default %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default %(default)s')
    parser.add_argument('--profile', action='store_true', help='print where the time goes')
    return parser.parse_args()


def drive(places: int, rng: np.random.Generator, block: int = 10_000) -> Iterator[DescriptorArray]:
    """Yield descriptors of places that resemble their neighbours, ``(N, D)`` at a time."""
    scale = ((1 + np.arange(DIMENSION)) ** -0.5).astype(np.float32)
    last = rng.standard_normal(DIMENSION).astype(np.float32)
    for start in range(0, places, block):
        rows = rng.standard_normal((min(block, places - start), DIMENSION)).astype(np.float32)
        rows *= np.float32(np.sqrt(1.0 - NEIGHBOURS ** 2))
        for i in range(len(rows)):
            rows[i] += NEIGHBOURS * last
            last = rows[i]
        yield unit(rows * scale + np.float32(0.02))


def fill(path: Path, blocks: Iterator[DescriptorArray]) -> None:
    """Store all places in one transaction (``PlaceMap.add`` makes one each, durably)."""
    with PlaceMap.create(path, descriptor_id='bench', dimension=DIMENSION) as place_map, \
            place_map._file.transaction() as connection:  # noqa: SLF001
        stored, session = 0, 0
        for block in blocks:
            for row in block:
                if stored % SESSION == 0:
                    session = insert_session(connection, 'bench')
                insert_keyframe(connection, (session, stored, '', f'{stored:06d}.jpg'),
                                pose_to_row(None), encode_descriptor(row, 'int8'))
                stored += 1


class TimedSearch:
    """Stands in for ``PlaceMap.nearest`` and adds up its milliseconds."""

    def __init__(self, place_map: PlaceMap) -> None:
        self._search = place_map.nearest
        self.ms = 0.0

    def __call__(self, *args: object, **options: object) -> list[tuple[int, float]]:
        started = time.process_time()
        found = self._search(*args, **options)  # type: ignore[arg-type]
        self.ms += 1e3 * (time.process_time() - started)
        return found


def measure(place_map: PlaceMap, args: argparse.Namespace) -> None:
    """Walk on a map and print a line of the table."""
    rng = np.random.default_rng(args.seed + 1)
    search = TimedSearch(place_map)
    place_map.nearest = search  # type: ignore[method-assign]
    count = len(place_map)
    walks = [revisit(place_map, int(rng.integers(1, count - args.images)), args.images, rng)
             for _ in range(args.walks)]
    place_map.nearest(walks[0][1][0], 1)  # the index makes room for its first search
    memory, first_ms = resident_bytes(), 0.0
    rows: list[tuple[float, float, float]] = []
    right: list[bool] = []
    decider = PlaceDecider(place_map, DecisionCalibration())
    profile = cProfile.Profile(time.process_time)
    for ids, queries in walks:
        decider.reset()
        for number, (wanted, query) in enumerate(zip(ids, queries)):
            search.ms, started = 0.0, time.process_time()
            if args.profile and rows:
                profile.enable()
            answer = decider.update(query, stamp_ns=number * 10 ** 8, top_k=5)
            profile.disable()
            all_ms = 1e3 * (time.process_time() - started)
            first_ms = first_ms or all_ms
            rows.append((all_ms - search.ms, search.ms, all_ms))
            found = answer.decision.keyframe
            right.append(found is not None and abs(found.keyframe_id - wanted) <= 2)
    grown = (resident_bytes() - memory) / 1e6
    decision, searching, both = np.array(rows[1:]).T
    numbers = [np.percentile(each, share) for each in (decision, searching) for share in (50, 95)]
    print(f'{count:9d} ' + ' '.join(f'{each:7.2f}' for each in numbers)
          + f' {np.median(both):6.2f} {first_ms:7.1f} {grown:7.1f} {place_map.index_kind:>10s} '
          f'{np.mean(right):6.3f}', flush=True)
    if args.profile:
        pstats.Stats(profile).sort_stats('cumtime').print_stats(40)


def revisit(
    place_map: PlaceMap, first: int, images: int, rng: np.random.Generator
) -> tuple[list[int], DescriptorArray]:
    """Return the numbers of places in a row, and noisy views of them, ``(T, D)``."""
    ids = list(range(first, first + images))
    seen = place_map.descriptors(ids)
    noise = rng.standard_normal(seen.shape) * seen.std(axis=0) * NOISE
    return ids, unit((seen + noise).astype(np.float32))


if __name__ == '__main__':
    main()
