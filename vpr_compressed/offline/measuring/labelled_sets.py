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
Describe images with a model file in a process of its own: ``python -m <this module> JOB.json``.

A process that trains holds torch, data and a second network; what the model costs on a robot can
only be measured apart from it. So this module must never import torch.

It writes ``<number>.npy`` for every list of images and ``facts.json`` into the folder the job
names, tells on stdout how far it is (``done N of M``), and on failure says why on stderr.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import psutil

from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.offline.accuracy import metrics
from vpr_compressed.offline.measuring.model_cost import load_measured
from vpr_compressed.offline.training.augment import darken
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.system.processes import FAILED
from vpr_compressed.system.processes import INTERRUPTED
from vpr_compressed.system.processes import talker

FACTS_NAME = 'facts.json'


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """
    Image files.

    :param change: '' for the images as they are; ``dark`` makes them dark, each with its place in
        the list as seed
    """

    paths: tuple[Path, ...]
    change: str = option('', 'what to do to the images', choices=('', 'dark'))

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, kw_only=True)
class ImageRows:
    """
    Pictures at network size in one array file.

    :param array: file ``.npy``: uint8 RGB, ``(N, h, w, 3)``
    :param rows: which of the N to describe
    """

    array: Path
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """
    What one worker has to do.

    :param engine: one of :data:`.engines.ALL_ENGINES`
    :param threads: CPU threads, 0 for all cores
    :param size: width and height of the network input; needed for images that are changed
    :param out: existing folder for the results
    """

    model: Path
    engine: str
    threads: int
    size: tuple[int, int] | None
    lists: tuple[ImageFiles | ImageRows, ...]
    out: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as :func:`read_job` wants it."""
        return {**asdict(self), 'model': str(self.model), 'out': str(self.out), 'lists': [
            {'paths': [str(path) for path in item.paths], 'change': item.change}
            if isinstance(item, ImageFiles) else
            {'array': str(item.array), 'rows': [int(row) for row in item.rows]}
            for item in self.lists]}


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """
    What a model cost in a process that does nothing else.

    :param resident_bytes: memory gained by loading the model and running it once, the engine's
        library included
    :param process_bytes: memory of the whole process after the last image
    :param latency_p50_ms: pre-processing and network of one image, median; decoding not counted
    :param latency_p95_ms: 95th percentile of the same
    :param images: number of images described
    """

    model_bytes: int
    load_s: float
    resident_bytes: int
    process_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    engine: str
    threads: int
    images: int

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> ModelFacts:
        """
        Read back what ``dataclasses.asdict`` gave.

        :raises ConfigError: for unknown or missing keys and wrong types
        """
        return config_from_mapping(cls, values)


def read_job(path: Path) -> WorkerJob:
    """
    Read a job.

    :raises VprError: if the file is missing or is no job
    """
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise VprError(f'cannot read the job {path}: {error}') from error
    return config_from_mapping(WorkerJob, values)


def run(job: WorkerJob, progress: Callable[[int, int], None]) -> None:
    """
    Describe all images of a job and write the results.

    :param progress: called after every image with the images done and in all
    :raises VprError: the model cannot be loaded or run, an image cannot be read, or the disk is
        full
    """
    loaded = load_measured(job.model, engine=job.engine, threads=job.threads)
    describer = _Describer(loaded.extractor, job.size, sum(map(len, job.lists)), progress)
    for number, item in enumerate(job.lists):
        _write_array(job.out / f'{number}.npy', describer.describe(item))
    times = metrics.percentiles(np.array(describer.times_ms, np.float64))
    facts = ModelFacts(
        model_bytes=loaded.extractor.model_bytes, load_s=loaded.load_s,
        resident_bytes=loaded.resident_bytes,
        process_bytes=psutil.Process().memory_info().rss, latency_p50_ms=times['p50'],
        latency_p95_ms=times['p95'], engine=loaded.extractor.engine_name, threads=job.threads,
        images=len(describer.times_ms))
    (job.out / FACTS_NAME).write_text(json.dumps(asdict(facts)), encoding='utf-8')


class _Describer:
    """Runs images through one extractor and notes how long each takes."""

    def __init__(
        self, extractor: Extractor, size: tuple[int, int] | None, total: int,
        progress: Callable[[int, int], None]
    ) -> None:
        self._extractor, self._size = extractor, size
        self._total, self._progress = total, progress
        self.times_ms: list[float] = []

    def describe(self, item: ImageFiles | ImageRows) -> DescriptorArray:
        """Return the descriptors of one list, float32 ``(N, D)``."""
        found = np.empty((len(item), self._extractor.dimension), np.float32)
        enough = self._extractor.input_size
        images = (_files(item, self._size, enough) if isinstance(item, ImageFiles) else
                  _rows(item.array, item.rows))
        for number, (name, image) in enumerate(images):
            start = time.perf_counter()
            found[number] = self._extractor.describe(image)
            self.times_ms.append((time.perf_counter() - start) * 1e3)
            if not np.isfinite(found[number]).all():
                raise EngineError(
                    f'{self._extractor.model_path} describes {name} with NaN or infinity; its '
                    'weights are broken, make it again')
            self._progress(len(self.times_ms), self._total)
        return found


def _files(
    item: ImageFiles, size: tuple[int, int] | None, enough: tuple[int, int]
) -> Iterator[tuple[str, ImageArray]]:
    """Yield name and pixels; changed images as ``compression.batches.ImageLoader`` has them."""
    for number, path in enumerate(item.paths):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f'cannot read image {path}: {error.strerror}') from error
        image = rgb_from_encoded(data, name=str(path), at_least=enough)
        if item.change:
            if size is None:
                raise VprError('images can only be changed at network size; give the job a "size"')
            image = darken(resize(image, *size), np.random.default_rng([0, number]))
        yield str(path), image


def _rows(path: Path, rows: Sequence[int]) -> Iterator[tuple[str, ImageArray]]:
    """Yield name and pixels of rows of an array file."""
    array = _array(path)
    if rows and not (min(rows) >= 0 and max(rows) < len(array)):
        raise SourceError(
            f'{path} has rows 0 to {len(array) - 1}, asked for {min(rows)} to {max(rows)}')
    shape, offset = array.shape[1:], int(array.offset)
    size = int(np.prod(shape))
    del array
    # Read, not mapped: pages of a mapped file would count as memory of the model.
    with path.open('rb') as stream:
        for row in rows:
            stream.seek(offset + row * size)
            pixels = np.frombuffer(stream.read(size), np.uint8)
            yield f'row {row} of {path}', pixels.reshape(shape)


def _array(path: Path) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Return the array of a file, mapped."""
    try:
        array: Any = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(f'cannot read the pictures in {path}: {error}') from error
    good = isinstance(array, np.memmap) and array.dtype == np.uint8 and array.ndim == 4
    if not good or array.shape[3] != 3 or not array.flags.c_contiguous:
        raise SourceError(
            f'{path} must hold one uint8 array of shape (N, h, w, 3) in C order, got '
            f'{getattr(array, "dtype", "several")} of shape {getattr(array, "shape", "unknown")}')
    checked: np.memmap[Any, np.dtype[np.uint8]] = array
    return checked


def _write_array(path: Path, values: NDArray[np.float32]) -> None:
    """Write an array file that appears only when it is complete."""
    part = path.with_suffix('.part')
    try:
        with part.open('wb') as stream:
            np.save(stream, values)
        part.replace(path)
    except OSError as error:
        raise VprError(f'cannot write descriptors to {path}: {error.strerror}') from error


def main(arguments: Sequence[str]) -> int:
    """
    Do one job.

    :param arguments: path of the job file
    :returns: exit status: 0, 1 with the reason on stderr, 130 when interrupted
    """
    if len(arguments) != 1:
        sys.stderr.write(f'needs one job file, got {len(arguments)} arguments\n')
        return FAILED
    try:
        run(read_job(Path(arguments[0])), talker())
    except VprError as error:
        sys.stderr.write(f'{error}\n')
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
