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
Observe models on recordings, each in a process of its own, and keep what was seen.

What is seen is kept as a whole (:class:`Observation`: every ranking, decision, millisecond and
byte), under a name made of everything it depends on: the model file with its calibration, engine
and threads, the images with their names, stamps and poses, how they were walked and what the
decision was set to, the code of this package, library versions and the processor. The same
question again, perhaps with another ground truth, is then answered from the
file. A process leaves the descriptors it has computed (:class:`.DescribedImages`), also one that
was interrupted; the next one, perhaps with another walk or another calibration of the same
weights, runs the recogniser on all images, but the network only on those that are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from dataclasses import dataclass
from functools import lru_cache
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2

import vpr_compressed
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.content_cache import Entry
from vpr_compressed.offline.measuring.model_process import ModelProcess
from vpr_compressed.offline.measuring.recognition_run import RecognitionRun
from vpr_compressed.offline.measuring.source_values import source_to_values
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.offline.network.engines import resolve_engine
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import machine
from vpr_compressed.system.processes import Progress
from vpr_compressed.system.processes import silent

#: Folders of modules that no observation comes from.
_NO_PART = ('cli/', 'offline/compression/', 'offline/training/', 'offline/reports/',
            'offline/live/', 'offline/importers/', 'offline/demo/', 'ros/')
#: Further ones that no descriptor comes from.
_NO_DESCRIPTOR = ('decision/', 'place_map/', 'offline/accuracy/', 'offline/datasets/')


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """
    A model file and what is known of it without running it.

    :param label: short name that no other model of the evaluation has
    :param engine: the engine it runs on; ``auto`` is resolved
    :param threads: CPU threads of the engine, 0 for its own choice
    :param dimension: values of a descriptor, 4 bytes each as the network gives it
    :param parameters: number of weights, zeros included
    :param multiply_adds: multiplications of one image, each with an addition; says what the
        network costs on any machine, while milliseconds are of this one
    """

    label: str
    name: str
    path: Path
    sha256: str
    file_bytes: int
    descriptor_id: str
    dimension: int
    precision: str
    parameters: int
    multiply_adds: int
    engine: str
    threads: int


def find_models(
    given: Sequence[Path | None], *, engine: str, threads: int
) -> tuple[EvaluatedModel, ...]:
    """
    Read every model and choose its engine.

    :param given: model files or names of packaged models, None for the default one
    :param engine: one of :data:`.engines.ALL_ENGINES`, or ``auto``
    :raises ModelFileError: a file is missing or damaged
    :raises EngineError: the engine is not installed, or none can run a model
    :raises ConfigError: a model is given twice
    """
    paths = [find_model(model) for model in given]
    for path in paths:
        # All of them before the first engine is tried, which may take seconds.
        read_model(path)
    found = tuple(
        _find(path, label, engine, threads) for path, label in zip(paths, labels(paths)))
    first: dict[str, EvaluatedModel] = {}
    for model in found:
        if (same := first.setdefault(model.sha256, model)) is not model:
            raise ConfigError(
                f'{model.path} is the same model as {same.path}; give each --model once')
    return found


def labels(paths: Sequence[Path]) -> list[str]:
    """
    Return a short name for each path: that of the file, with the folders that tell it apart.

    Three files ``a/model.vpr``, ``b/model.vpr`` and ``small.vpr`` are called ``a/model``,
    ``b/model`` and ``small``.
    """
    parts = [path.absolute().with_suffix('').parts for path in paths]
    lengths = [next(
        (length for length in range(1, len(mine))
         if [other[-length:] for other in parts].count(mine[-length:]) == 1), len(mine))
        for mine in parts]
    return ['/'.join(mine[-length:]) for mine, length in zip(parts, lengths)]


def _find(path: Path, label: str, engine: str, threads: int) -> EvaluatedModel:
    """Return the facts of one model."""
    model = read_model(path)
    size = model.preprocessing
    return EvaluatedModel(
        label=label, name=path.stem, path=path, sha256=machine.sha256_of(path),
        file_bytes=path.stat().st_size, descriptor_id=model.descriptor_id,
        dimension=model.spec.dimension, precision=model.precision,
        parameters=model.spec.parameters(),
        multiply_adds=sum(multiply_adds(model.spec, size.width, size.height).values()),
        engine=resolve_engine(path, model, engine, threads).engine, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """
    One model on its recordings, before any accuracy is computed.

    :param load_s: seconds from the model file to the first descriptor
    :param model_resident_bytes: memory gained by that, the engine's library included
    :param others_cores: processor cores that other programs kept busy meanwhile, on average;
        where this is much above 0, the milliseconds say little; None where it is not known
    :param measured: when, UTC, ISO 8601
    :param cached: whether all of it is from an earlier run
    """

    measurement: RecognitionRun
    load_s: float
    model_resident_bytes: int
    others_cores: float | None
    measured: str
    cached: bool = False

    @property
    def others_text(self) -> str:
        """The cores that other programs kept busy, in words."""
        return 'not known' if self.others_cores is None else f'{self.others_cores:.1f}'


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """
    The recordings of an evaluation.

    :param sources: reference, query and the unknown ones; one alone is recognised in its own past
    :param digest: SHA-256 of all that is read from them
    """

    sources: tuple[ImageSource, ...]
    digest: str

    def __len__(self) -> int:
        """Return the number of images in all."""
        return sum(map(len, self.sources))


def read_recordings(*sources: ImageSource, progress: Progress = silent) -> Recordings:
    """
    Read recordings once, without decoding an image that was compressed.

    :param progress: called after each image
    :raises SourceError: an image cannot be read
    """
    digest, total, done = hashlib.sha256(), sum(map(len, sources)), 0
    for source in sources:
        digest.update(f'{source.kind}, {len(source)} images'.encode())
        for frame in source:
            digest.update(f'{frame.name}\n{frame.stamp_ns}\n{frame.pose}\n'.encode())
            # A raw image is its own pixels; reading them is all there is to decoding it.
            stored = None if frame.encoded is None else frame.encoded()
            data = frame.load().tobytes() if stored is None else stored.data
            digest.update(f'{len(data)}\n'.encode())
            digest.update(data)
            done += 1
            progress(done, total)
    return Recordings(sources=sources, digest=digest.hexdigest())


def observe(
    model: EvaluatedModel, recordings: Recordings, cache: ContentCache,
    progress: Progress = silent, *, trial: Trial | None = None
) -> Observation:
    """
    Return what is seen of a model, from the cache or from a process of its own.

    :param progress: called with the images done and in all, not at all for a cached result
    :param trial: what is done with the recordings; the defaults if it is None
    :raises MeasurementCancelledError: the process was interrupted
    :raises VprError: the model or an image cannot be used, something was changed meanwhile, or
        the disk is full
    """
    trial = trial or Trial()
    key = f'observation-{_digest_of([*_facts(model), recordings.digest, asdict(trial)])}'
    for entry in cache.find(key):
        try:
            return _parse(entry, cached=True)
        except (KeyError, TypeError):
            continue  # a file of another version of this package
    entry = _measure(model, recordings, trial, cache, progress)
    cache.keep(key, entry)
    return _parse(entry, cached=False)


def _measure(
    model: EvaluatedModel, recordings: Recordings, trial: Trial, cache: ContentCache,
    progress: Progress
) -> Entry:
    """Have a process walk through the recordings."""
    values = [source_to_values(source) for source in recordings.sources]
    _check_model(model)
    process = ModelProcess(model.path, engine=model.engine, threads=model.threads)
    with closing(process):
        _check_model(model)
        found, arrays = process.ask_arrays(
            'recognise', recordings=values, trial=asdict(trial), cache=cache.folder,
            key=_digest_of(_descriptor_facts(model)), progress=progress)
    if read_recordings(*recordings.sources).digest != recordings.digest:
        names = ' or '.join(source.describe() for source in recordings.sources)
        raise VprError(f'images of {names} were changed while they were measured; start again')
    return Entry(arrays, {
        **found, 'load_s': process.cost.load_s,
        'model_resident_bytes': process.cost.resident_bytes, 'measured': machine.now()})


def _parse(entry: Entry, *, cached: bool) -> Observation:
    """Return a kept observation; raises what the fields of another version may raise."""
    values = dict(entry.values)
    run = {**values.pop('measurement'), **entry.arrays}
    return Observation(measurement=RecognitionRun.from_values(run), **values, cached=cached)


def _check_model(model: EvaluatedModel) -> None:
    """Refuse a file that is not what was asked for: its numbers would be kept as the other's."""
    if machine.sha256_of(model.path) != model.sha256:
        raise VprError(f'{model.path} was changed since the evaluation began; start again')


def _facts(model: EvaluatedModel) -> list[Any]:
    """Return all that decides what is observed, besides the images and how they are walked."""
    return [code_digest(), model.sha256, *_descriptor_facts(model)]


def _descriptor_facts(model: EvaluatedModel) -> list[Any]:
    """Return all that decides a descriptor and its time, besides the image."""
    found = machine.machine()
    return [code_digest(_NO_DESCRIPTOR), model.descriptor_id, model.precision, model.engine,
            model.threads, machine.versions(), cv2.__version__, found['processor'],
            found['cores'],
            len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0]


@lru_cache(maxsize=2)
def code_digest(without: tuple[str, ...] = ()) -> str:
    """
    Return a digest of all modules an observation may come from.

    :param without: folders to leave out of it, each with a slash at its end
    """
    root = Path(vpr_compressed.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob('*.py')):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_NO_PART + without):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def _digest_of(facts: list[Any]) -> str:
    """Return a short name for facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
