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
A model in a process of its own: what it costs to load, and what it is asked.

Memory and milliseconds of a model can only be told apart from those of torch, of the data or of
another model in a process that runs nothing else. :class:`ModelProcess` starts ``python -m`` this
module, which loads the model on one engine, says what that cost, and then does what it is asked:
describe lists of images, recognise one recording in another, or be timed. It never imports torch,
and what only one task needs is imported there, since all of it counts as memory of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpr_compressed.config import config_from_mapping
from vpr_compressed.config import option
from vpr_compressed.errors import EngineError
from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.images.pixels import resize
from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.offline.accuracy.night import darken
from vpr_compressed.offline.network.engines import load_extractor
from vpr_compressed.offline.network.engines import resolve_engine
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import ImageArray
from vpr_compressed.runtime.extractor import Extractor
from vpr_compressed.runtime.parity import reference_images
from vpr_compressed.system import memory
from vpr_compressed.system import processes

MODULE = 'vpr_compressed.offline.measuring.model_process'
#: Size of the camera image that a model is timed with, as most robots have it.
CAMERA = PreprocessingSpec(width=640, height=480)


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
class LoadCost:
    """
    What a model is on one engine, and what it cost to load it and run it once.

    :param precision: of the weights
    :param rounds_activations: whether the model file has ranges for them
    :param load_s: seconds from the file to the first descriptor
    :param resident_bytes: memory the process gained, the engine's library included
    :param peak_bytes: the most it was on the way there
    """

    engine: str
    precision: str
    rounds_activations: bool
    model_bytes: int
    load_s: float
    resident_bytes: int
    peak_bytes: int


class ModelProcess:
    """
    A model on one engine, loaded in a process of its own, until it is closed.

    :param engine: one of :data:`.engines.ALL_ENGINES`, or ``auto``
    :param threads: CPU threads, 0 for all cores
    :param name: for messages; None for that of the model file
    :param cancelled: asked several times a second while the model is loaded
    :raises MeasurementCancelledError: if it says so
    :raises VprError: if the model cannot be loaded or run, in the words of the process
    """

    def __init__(
        self, model: Path, *, engine: str, threads: int, name: str | None = None,
        cancelled: Callable[[], bool] = processes.never
    ) -> None:
        self._worker = processes.Worker(
            MODULE, {'model': model, 'engine': engine, 'threads': threads},
            name=name or f'the process that measured {model}')
        try:
            self.cost = LoadCost(**self._worker.result(cancelled=cancelled))
        except BaseException:
            self.close()
            raise

    def ask(
        self, task: str, *, cancelled: Callable[[], bool] = processes.never,
        progress: processes.Progress = processes.silent, **question: Any
    ) -> Any:
        """
        Have it do a task of :data:`TASKS`.

        :param cancelled: as for :meth:`.Worker.result`, likewise ``progress`` and what is raised
        :param question: keyword arguments of the task
        :returns: plain data
        """
        return self._worker.ask(
            {'task': task, **question}, cancelled=cancelled, progress=progress)

    def ask_arrays(self, task: str, **question: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
        """
        Have it do a task that writes arrays to a file ``out``; otherwise as :meth:`ask`.

        :returns: plain data, and the arrays by name
        :raises VprError: also if the disk is full
        """
        try:
            with tempfile.TemporaryDirectory(prefix='vpr_compressed-measure-') as folder:
                out = Path(folder) / 'arrays.npz'
                values = self.ask(task, out=out, **question)
                with np.load(out, allow_pickle=False) as arrays:
                    return values, dict(arrays)
        except OSError as error:
            raise VprError(
                f'cannot measure in a process of its own: {error}; is the disk of '
                f'{tempfile.gettempdir()} full?') from error

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def work(arguments: Mapping[str, Any]) -> Iterator[Any]:
    """
    Be that process: load a model and do what is asked.

    :param arguments: those of :func:`load_measured`
    :returns: yields the cost of loading, then one result for each question
    :raises VprError: the model cannot be loaded or run, or an image cannot be read
    """
    extractor, cost = load_measured(**arguments)
    yield cost
    for question in processes.questions():
        yield TASKS[question.pop('task')](extractor, **question)


def load_measured(model: str | Path, *, engine: str, threads: int) -> tuple[Extractor, LoadCost]:
    """
    Load a model, run it once and measure what that costs.

    :param model: model file, or name of a packaged one
    :raises ModelFileError: no or damaged model
    :raises EngineError: engine not installed or unknown
    """
    path = find_model(Path(model))
    found = read_model(path)
    # Racing the engines, the first time on a machine, is no part of loading one.
    engine = resolve_engine(path, found, engine, threads).engine
    rounds_activations = bool(found.activations)
    del found
    image = reference_images(CAMERA, 1)[0]
    before = memory.resident_bytes()
    memory.forget_peak()
    start = time.perf_counter()
    extractor = load_extractor(path, engine=engine, threads=threads)
    extractor.describe(image)
    load_s = time.perf_counter() - start
    resident, peak = memory.resident_bytes(), memory.peak_bytes()
    return extractor, LoadCost(
        engine=extractor.engine_name, precision=extractor.precision,
        rounds_activations=rounds_activations, model_bytes=extractor.model_bytes, load_s=load_s,
        resident_bytes=max(0, resident - before), peak_bytes=max(0, max(peak, resident) - before))


def times_of(extractor: Extractor) -> dict[str, float]:
    """Describe an image; return milliseconds, and those of the CPU in all threads."""
    image = reference_images(CAMERA, 1)[0]
    wall, cpu = time.perf_counter(), time.process_time()
    extractor.describe(image)
    return {'wall_ms': 1e3 * (time.perf_counter() - wall),
            'cpu_ms': 1e3 * (time.process_time() - cpu)}


def describe_made_up(extractor: Extractor) -> list[list[float]]:
    """Return the descriptors of made-up images, to compare engines and models by."""
    return [extractor.describe(image).tolist() for image in reference_images(CAMERA)]


def describe_lists(
    extractor: Extractor, *, lists: Sequence[Mapping[str, Any]], out: str
) -> dict[str, Any]:
    """
    Describe lists of images.

    :param lists: the fields of :class:`ImageFiles` or :class:`ImageRows`, for each list
    :param out: file ``.npz`` for the descriptors, one float32 array ``(N, D)`` for each list
    :raises EngineError: for a descriptor that is not finite
    :raises SourceError: if an image cannot be read
    """
    items = [config_from_mapping(ImageRows, item) if 'array' in item else
             config_from_mapping(ImageFiles, item) for item in lists]
    total, progress = sum(map(len, items)), processes.talker()
    times_ms: list[float] = []
    found: list[DescriptorArray] = []
    for item in items:
        rows = np.empty((len(item), extractor.dimension), np.float32)
        for number, (name, image) in enumerate(images_of(item, extractor.input_size)):
            start = time.perf_counter()
            rows[number] = extractor.describe(image)
            times_ms.append((time.perf_counter() - start) * 1e3)
            if not np.isfinite(rows[number]).all():
                raise EngineError(
                    f'{extractor.model_path} describes {name} with NaN or infinity; its weights '
                    'are broken, make it again')
            progress(len(times_ms), total)
        found.append(rows)
    np.savez(out, *found)
    return {'times_ms': times_ms, 'process_bytes': memory.resident_bytes()}


def recognise(
    extractor: Extractor, *, recordings: Sequence[Mapping[str, Any]], trial: Mapping[str, Any],
    cache: str, key: str, out: str
) -> dict[str, Any]:
    """
    Map a recording and recognise others in it, or one in its own past.

    :param recordings: as for :func:`.two_recordings.run`, likewise ``trial``
    :param cache: folder of the cache that keeps descriptors
    :param key: what they depend on besides the pixels
    :param out: file ``.npz`` for the arrays of the :class:`.recognition_run.RecognitionRun`
    :returns: its other fields as ``measurement``, and the cores that other programs kept busy
    :raises VprError: if an image cannot be used
    """
    from vpr_compressed.offline.measuring import two_recordings
    from vpr_compressed.offline.measuring.content_cache import ContentCache
    from vpr_compressed.offline.measuring.content_cache import DescribedImages
    from vpr_compressed.offline.measuring.recognition_run import ARRAYS
    from vpr_compressed.system.machine import OtherLoad

    load, known = OtherLoad(), DescribedImages(ContentCache(Path(cache)), key)
    run = two_recordings.run(
        recordings, extractor, trial, progress=processes.talker(), known=known)
    fields = dict(vars(run))
    np.savez(out, **{name: fields.pop(name) for name in ARRAYS})
    # Images described in an earlier run were timed under the load of then.
    return {'measurement': fields, 'others_cores': None if run.recalled else load.cores()}


def images_of(
    item: ImageFiles | ImageRows, size: tuple[int, int]
) -> Iterator[tuple[str, ImageArray]]:
    """
    Yield name and pixels, uint8 RGB; dark images as training validates them.

    :param size: width and height of the network input, which a JPEG may come down to
    """
    if isinstance(item, ImageRows):
        yield from _rows(item.array, item.rows)
        return
    for number, path in enumerate(item.paths):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f'cannot read image {path}: {error.strerror}') from error
        image = rgb_from_encoded(data, name=str(path), at_least=size)
        if item.change:
            image = darken(resize(image, *size), np.random.default_rng([0, number]))
        yield str(path), image


def _rows(path: Path, rows: Sequence[int]) -> Iterator[tuple[str, ImageArray]]:
    """Yield name and pixels of rows of an array file."""
    try:
        array: Any = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(f'cannot read the pictures in {path}: {error}') from error
    good = isinstance(array, np.memmap) and array.dtype == np.uint8 and array.ndim == 4
    if not good or array.shape[3] != 3 or not array.flags.c_contiguous:
        raise SourceError(
            f'{path} must hold one uint8 array of shape (N, h, w, 3) in C order, got '
            f'{getattr(array, "dtype", "several")} of shape {getattr(array, "shape", "unknown")}')
    if rows and not (min(rows) >= 0 and max(rows) < len(array)):
        raise SourceError(
            f'{path} has rows 0 to {len(array) - 1}, asked for {min(rows)} to {max(rows)}')
    shape, offset, size = array.shape[1:], array.offset, array[:1].size
    del array
    # Read, not mapped: pages of a mapped file would count as memory of the model.
    with path.open('rb') as stream:
        for row in rows:
            stream.seek(offset + row * size)
            yield f'row {row} of {path}', np.fromfile(stream, np.uint8, size).reshape(shape)


#: Name of a task -> what does it.
TASKS: dict[str, Any] = {
    'time': times_of, 'describe made-up': describe_made_up, 'describe': describe_lists,
    'recognise': recognise}

if __name__ == '__main__':
    sys.exit(processes.serve(work))
