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
The process of one method of :mod:`benchmarks.peers`: fits, describes, and is timed.

A worker of :mod:`vpr_compressed.system.processes`, started with the file of a job (JSON) and a
task: ``prepare`` fits and describes what is not in the cache yet and tells how far it is;
``race`` is asked for the number of an image, which it describes and looks up.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
import json
from pathlib import Path
import sys
import time
from typing import Any

from benchmarks.peer_features import project
from benchmarks.peer_methods import Arrays
from benchmarks.peer_methods import fit_projection
from benchmarks.peer_methods import FloatArray
from benchmarks.peer_methods import Loaded
from benchmarks.peer_methods import MAP
from benchmarks.peer_methods import Materials
from benchmarks.peer_methods import Method
from benchmarks.peer_methods import WORDS
from benchmarks.peer_registry import METHODS
from benchmarks.peer_words import InvertedFile
import cv2
import numpy as np

from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import ImageArray
from vpr_compressed.system import memory
from vpr_compressed.system import processes

Search = Callable[[FloatArray], object]
#: Answers looked up for each image.
_ANSWERS = 10
_BLOCK = 500


@dataclass(frozen=True, kw_only=True)
class Job:
    """
    What one process has to do; paths are texts, so that it can be written as JSON.

    :param key: of :data:`~benchmarks.peer_registry.METHODS`
    :param folder: cache of this method
    :param base: cache of the method it projects, '' without
    :param fit_images: images to fit to
    :param walks: name -> images to describe
    :param camera: images to be timed with
    :param places: how many the map holds that is searched
    :param walk: whose images, repeated, are these places
    """

    key: str
    folder: str
    base: str
    weights: str
    parent: str
    engine: str
    threads: int
    fit_images: tuple[str, ...]
    walks: dict[str, tuple[str, ...]]
    camera: tuple[str, ...]
    places: int
    walk: str

    @property
    def method(self) -> Method:
        """The method itself."""
        return METHODS[self.key]

    @property
    def materials(self) -> Materials:
        """What it is made from."""
        return Materials(
            weights=Path(self.weights), parent=Path(self.parent) if self.parent else None,
            engine=self.engine, threads=self.threads)

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))


def work(arguments: Sequence[str]) -> Iterator[Any]:
    """
    Prepare a method or have it timed.

    :param arguments: file with the job, and ``prepare`` or ``race``
    :raises VprError: if a file cannot be read or written
    """
    path, task = arguments
    job = Job(**json.loads(Path(path).read_text(encoding='utf-8')))
    if task == 'prepare':
        # On a busy machine two threads that wait for each other are ten times slower than one.
        job = replace(job, threads=1)
    cv2.setNumThreads(job.threads)
    try:
        if task == 'prepare':
            prepare(job)
            yield None
        else:
            lane = RaceLane(job)
            yield lane.facts
            for number in processes.questions():
                yield lane.run(number)
    except OSError as error:
        raise VprError(str(error)) from error


def prepare(job: Job) -> None:
    """Fit a method and describe all images, as far as that is not in its cache."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    method = job.method
    arrays = _fitted(job)
    missing = [walk for walk in job.walks if not (folder / f'{walk}.npy').exists()]
    loaded = method.load(job.materials, arrays) if missing and not method.base else None
    for walk in missing:
        if loaded is None:
            base = np.load(Path(job.base) / f'{walk}.npy')
            rows = project(base, arrays['weight'], arrays['bias'])
        else:
            rows = np.stack([loaded.describe(image)
                             for image in _images(job.walks[walk])])
        with _whole(folder / f'{walk}.npy') as part:
            np.save(part, rows.astype(np.float32))


def _fitted(job: Job) -> Arrays:
    """Return what a method was fitted to, from its cache or anew."""
    method = job.method
    base: Arrays = {}
    if method.base:
        base = _read_arrays(Path(job.base) / 'fitted.npz')
    path = Path(job.folder) / 'fitted.npz'
    if path.exists():
        return {**base, **_read_arrays(path)}
    images = _images(job.fit_images)
    own: Arrays = {}
    if method.base:
        describe = METHODS[method.base].load(job.materials, base).describe
        own = fit_projection(np.stack([describe(image) for image in images]))
    elif method.fit is not None:
        own = method.fit(job.materials, images)
    with _whole(path) as part, part.open('wb') as stream:
        np.savez(stream, **own)
    return {**base, **own}


def _read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Hand out another name for a file that appears only when it is complete."""
    part = path.with_name(f'part_{path.name}')
    yield part
    part.replace(path)


def _images(paths: Sequence[str]) -> Iterator[ImageArray]:
    """Yield decoded images and tell how far it is."""
    progress = processes.talker()
    for number, path in enumerate(paths, start=1):
        yield read_image(path)
        progress(number, len(paths))


def read_image(path: str) -> ImageArray:
    """
    Return an image at its full size.

    :raises VprError: if it cannot be read or decoded
    """
    try:
        return rgb_from_encoded(Path(path).read_bytes(), name=path)
    except OSError as error:
        raise VprError(f'cannot read {path}: {error.strerror}') from error


class RaceLane:
    """A loaded method with a map to search, and what loading it took."""

    def __init__(self, job: Job) -> None:
        method = job.method
        self._camera = [read_image(path) for path in job.camera]
        before = memory.resident_bytes()
        started = time.perf_counter()
        arrays = {name: values for folder in filter(None, (job.base, job.folder))
                  for name, values in _read_arrays(Path(folder) / 'fitted.npz').items()}
        vocabulary = sum(values.nbytes for values in arrays.values())
        self._loaded: Loaded = method.load(job.materials, arrays)
        self._loaded.describe(self._camera[0])
        load_s = time.perf_counter() - started
        del arrays
        for image in self._camera:
            self._loaded.describe(image)
        memory.give_back()
        resident = memory.resident_bytes()
        rows = np.load(Path(job.folder) / f'{job.walk}.npy', mmap_mode='r')
        self._search = make_search(method, rows, job.places)
        memory.give_back()
        self.facts = {
            'load_s': load_s, 'model_bytes': self._loaded.model_bytes + vocabulary,
            'process_bytes': resident, 'added_bytes': max(0, resident - before),
            'map_bytes': max(0, memory.resident_bytes() - resident)}

    def run(self, number: int) -> dict[str, float]:
        """Describe an image and look it up; return the milliseconds of both."""
        image = self._camera[number % len(self._camera)]
        started = time.perf_counter()
        descriptor = self._loaded.describe(image)
        described = time.perf_counter()
        self._search(descriptor)
        searched = time.perf_counter()
        return {'describe_ms': 1e3 * (described - started),
                'search_ms': 1e3 * (searched - described)}


def make_search(method: Method, rows: FloatArray, places: int) -> Search:
    """
    Return how one descriptor is looked up in a map, on one thread.

    Float rows in a flat FAISS index, words in an inverted file, ours in our map in memory.

    :param rows: descriptors ``(N, D)`` that are repeated until there are ``places``
    """
    wanted = np.resize(np.arange(len(rows)), places)
    if method.kind == MAP:
        site = PlaceMap.create(None, descriptor_id='', dimension=rows.shape[1])
        for row in wanted.tolist():
            site.add(rows[row], stamp_ns=row)
        return lambda descriptor: site.search(descriptor, _ANSWERS)
    if method.kind == WORDS:
        postings = InvertedFile(rows[wanted])
        return lambda bag: np.argpartition(-postings.scores(bag), _ANSWERS)[:_ANSWERS]
    import faiss

    faiss.omp_set_num_threads(1)
    index: Any = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, places, _BLOCK):
        index.add(np.ascontiguousarray(rows[wanted[start:start + _BLOCK]]))
    return lambda descriptor: index.search(descriptor[np.newaxis], _ANSWERS)


if __name__ == '__main__':
    sys.exit(processes.serve(work))
