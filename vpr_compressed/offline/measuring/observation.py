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
Observe one model on two recordings in a process of its own, and keep what was seen.

Memory and milliseconds of a model can only be told apart from those of another in a process that
runs nothing else, so each gets a child: this module, run as ``python -m`` by :func:`observe`.
What it sees is kept as a whole (:class:`Observation`: every ranking, accepted match, millisecond
and byte), under a name made of everything it depends on: the model file, engine and threads, the
images with their names, stamps and poses, the code of this package, library versions and the
processor. The same question again, perhaps with another ground truth, is then answered from the
file. A child that was interrupted leaves the descriptors it has computed
(:mod:`.descriptor_store`); the next one runs the recogniser on all images, but the network only
on those that are missing.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from functools import lru_cache
import hashlib
import io
import json
import os
from pathlib import Path
import pickle
import sys
import tempfile
from typing import Any
import zipfile
import zlib

import cv2
import numpy as np

import vpr_compressed
from vpr_compressed.config import config_from_mapping
from vpr_compressed.errors import VprError
from vpr_compressed.offline.measuring.descriptor_cache import opened
from vpr_compressed.offline.measuring.model_cost import load_measured
from vpr_compressed.offline.measuring.models import EvaluatedModel
from vpr_compressed.offline.measuring.two_recordings import measure
from vpr_compressed.offline.measuring.two_recordings import Measurement
from vpr_compressed.offline.measuring.two_recordings import QueryResult
from vpr_compressed.sources import ImageSource
from vpr_compressed.system import machine
from vpr_compressed.system import processes
from vpr_compressed.system.machine import OtherLoad
from vpr_compressed.system.processes import Progress
from vpr_compressed.system.processes import silent

MODULE = 'vpr_compressed.offline.measuring.observation'
#: Changes when the content of the files does.
_VERSION = 1
#: Folders of modules that no observation comes from.
_NO_PART = ('cli/', 'offline/compression/', 'offline/training/', 'offline/demo/', 'ros/')
#: What reading a file that is not one of ours may raise.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, VprError)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """
    One model on two recordings, before any accuracy is computed.

    :param load_s: seconds from the model file to the first descriptor
    :param model_resident_bytes: memory gained by that, the engine's library included
    :param others_cores: processor cores that other programs kept busy meanwhile, on average;
        where this is much above 0, the milliseconds say little; None where it is not known
    :param measured: when, UTC, ISO 8601
    :param cached: whether all of it is from an earlier run
    """

    measurement: Measurement
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
    The two recordings of an evaluation.

    :param digest: SHA-256 of all that is read from them
    """

    reference: ImageSource
    query: ImageSource
    digest: str

    def __len__(self) -> int:
        """Return the number of images in both."""
        return len(self.reference) + len(self.query)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a child has to do: observe, and keep the result in a folder under a key."""

    model: EvaluatedModel
    reference: ImageSource
    query: ImageSource
    folder: Path
    key: str
    store_key: str
    digest: str


def read_recordings(
    reference: ImageSource, query: ImageSource, progress: Progress = silent
) -> Recordings:
    """
    Read both recordings once, without decoding an image that was compressed.

    :param progress: called after each image
    :raises SourceError: an image cannot be read
    """
    digest, total, done = hashlib.sha256(), len(reference) + len(query), 0
    for source in (reference, query):
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
    return Recordings(reference=reference, query=query, digest=digest.hexdigest())


def observe(
    model: EvaluatedModel, recordings: Recordings, folder: Path, progress: Progress = silent
) -> Observation:
    """
    Return what is seen of a model, from the cache or from a child process.

    :param folder: existing folder of the cache
    :param progress: called with the images done and in all, not at all for a cached result
    :raises MeasurementCancelledError: the child was interrupted
    :raises VprError: the text of the child, or how it ended
    """
    store_key = _digest_of(_facts(model))
    key = _digest_of([store_key, recordings.digest])
    found = _load(folder, key)
    if found is not None:
        return found
    job = _Job(
        model=model, reference=recordings.reference, query=recordings.query, folder=folder,
        key=key, store_key=store_key, digest=recordings.digest)
    with tempfile.TemporaryFile() as stdin:
        # Between two processes of this package; sources differ too much for a plain format.
        try:
            pickle.dump(job, stdin)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise VprError(
                f'cannot hand {recordings.reference.describe()} and '
                f'{recordings.query.describe()} to a process of their own: {error}') from error
        stdin.seek(0)
        processes.run_worker(MODULE, [], model=model.path, stdin=stdin, progress=progress)
    made = _load(folder, key, cached=False)
    if made is None:
        raise VprError(
            f'what was seen of {model.path} is not in {folder} any more; something else deletes '
            'files there, choose another folder with --cache')
    return made


def check_cache(folder: Path) -> None:
    """
    Make the folder of a cache and see whether it can be written.

    :raises VprError: if not
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise VprError(
            f'cannot keep descriptors in {folder}: {error.strerror}; choose another folder with '
            '--cache') from error


def run(job: _Job, progress: Progress) -> None:
    """
    Do one job.

    :raises VprError: the model or an image cannot be used, something was changed meanwhile, or
        the disk is full
    """
    model, done, total = job.model, 0, len(job.reference) + len(job.query)

    def count(_phase: str) -> None:
        nonlocal done
        done += 1
        progress(done, total)

    _check_model(model)
    loaded = load_measured(model.path, engine=model.engine, threads=model.threads)
    _check_model(model)
    path, load = job.folder / f'descriptors-{job.store_key}.bin', OtherLoad()
    with opened(path, key=job.store_key, dimension=model.dimension) as store:
        measurement = measure(
            job.reference, job.query, loaded.extractor, progress=count, store=store)
    others_cores = load.cores()
    if read_recordings(job.reference, job.query).digest != job.digest:
        raise VprError(
            f'images of {job.reference.describe()} or {job.query.describe()} were changed while '
            'they were measured; start again')
    _save(job.folder, job.key, Observation(
        measurement=measurement, load_s=loaded.load_s,
        model_resident_bytes=loaded.resident_bytes,
        # Images described in an earlier run were timed under the load of then.
        others_cores=None if measurement.recalled else others_cores,
        measured=machine.now()))


def _check_model(model: EvaluatedModel) -> None:
    """Refuse a file that is not what was asked for: its numbers would be kept as the other's."""
    if machine.sha256_of(model.path) != model.sha256:
        raise VprError(f'{model.path} was changed since the evaluation began; start again')


def _facts(model: EvaluatedModel) -> list[Any]:
    """Return all that decides a descriptor, its time and its matches, besides the images."""
    found = machine.machine()
    return [_VERSION, code_digest(), model.sha256, model.engine, model.threads,
            machine.versions(), cv2.__version__, found['processor'], found['cores'],
            len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of all modules an observation may come from."""
    root = Path(vpr_compressed.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob('*.py')):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_NO_PART) and 'page' not in name and 'plot' not in name:
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def _digest_of(facts: list[Any]) -> str:
    """Return a short name for facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _save(folder: Path, key: str, seen: Observation) -> None:
    """Write an observation; it appears under its name when it is complete."""
    measured = seen.measurement
    values = {
        **{name: value for name, value in vars(measured).items()
           if name not in ('queries', 'rows', 'similarities')},
        'queries': [asdict(query) for query in measured.queries], 'load_s': seen.load_s,
        'model_resident_bytes': seen.model_resident_bytes, 'others_cores': seen.others_cores,
        'measured': seen.measured}
    stream = io.BytesIO()
    np.savez_compressed(
        stream, rows=measured.rows, similarities=measured.similarities,
        values=np.frombuffer(json.dumps(values).encode(), np.uint8))
    data = stream.getvalue()
    part = folder / f'{key}.{os.getpid()}.part'
    try:
        part.write_bytes(data)
        part.replace(folder / f'observation-{key}-{_checksum(data)}.npz')
    except OSError as error:
        part.unlink(missing_ok=True)
        raise VprError(
            f'cannot keep what was seen in {folder}: {error.strerror}; choose another folder with '
            '--cache') from error


def _load(folder: Path, key: str, *, cached: bool = True) -> Observation | None:
    """Return a kept observation; a damaged one is removed and counts as none."""
    for path in sorted(folder.glob(f'observation-{key}-*.npz')):
        try:
            data = path.read_bytes()
            if path.stem.endswith(_checksum(data)):
                return _parse(data, cached=cached)
        except _DAMAGE:
            pass  # measured again
        path.unlink(missing_ok=True)
    return None


def _parse(data: bytes, *, cached: bool) -> Observation:
    """Return the observation in the bytes of a file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        rows, similarities = arrays['rows'], arrays['similarities']
        values = json.loads(arrays['values'].tobytes())
    queries = tuple(config_from_mapping(QueryResult, query) for query in values.pop('queries'))
    own = {name: values.pop(name) for name in (
        'load_s', 'model_resident_bytes', 'others_cores', 'measured')}
    values['reference_names'] = tuple(values['reference_names'])
    return Observation(
        measurement=Measurement(
            queries=queries, rows=rows, similarities=similarities, **values),
        **own, cached=cached)


def _checksum(data: bytes) -> str:
    """Return a checksum for a file name."""
    return hashlib.sha256(data).hexdigest()[:24]


def main() -> int:
    """
    Do the job on standard input.

    :returns: exit status: 0, 1 with the reason on stderr, 130 when interrupted
    """
    try:
        job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
        run(job, processes.talker())
    except VprError as error:
        sys.stderr.write(f'{error}\n')
        return processes.FAILED
    except KeyboardInterrupt:
        return processes.INTERRUPTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
