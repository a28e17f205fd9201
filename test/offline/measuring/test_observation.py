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

"""One model in its own process, what is kept of it, and what makes it be measured again."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import subprocess
import sys

from bag_maker import bag_maker
from bag_maker import POSES
from bag_maker import SECOND
from bag_maker import START
import cv2
import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.decision.config import DecisionConfig
from vpr_compressed.errors import ConfigError
from vpr_compressed.errors import ModelFileError
from vpr_compressed.errors import SourceError
from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.spec import multiply_adds
from vpr_compressed.offline.measuring import model_process
from vpr_compressed.offline.measuring import observation
from vpr_compressed.offline.measuring import two_recordings
from vpr_compressed.offline.measuring.content_cache import ContentCache
from vpr_compressed.offline.measuring.content_cache import Entry
from vpr_compressed.offline.measuring.observation import EvaluatedModel
from vpr_compressed.offline.measuring.observation import find_models
from vpr_compressed.offline.measuring.observation import labels
from vpr_compressed.offline.measuring.observation import observe
from vpr_compressed.offline.measuring.observation import read_recordings
from vpr_compressed.offline.measuring.observation import Recordings
from vpr_compressed.offline.measuring.replay import Replay
from vpr_compressed.offline.measuring.source_values import source_from_values
from vpr_compressed.offline.measuring.source_values import source_to_values
from vpr_compressed.offline.measuring.trial import Trial
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.sources import FolderSource
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.bag import BagSource
from vpr_compressed.system import processes
from vpr_compressed.system.machine import OtherLoad
from vpr_compressed.system.processes import MeasurementCancelledError

COUNT = 6


@pytest.fixture
def model(tiny_model_path: Path) -> EvaluatedModel:
    """Return the tiny model."""
    return find_models([tiny_model_path], engine='onnxruntime', threads=1)[0]


@pytest.fixture
def walk(tmp_path: Path, rng: np.random.Generator) -> FolderSource:
    """Return a folder of six images."""
    path = tmp_path / 'walk'
    path.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(path / f'{number}.png'), rng.integers(0, 256, (48, 64, 3), np.uint8))
    return FolderSource(path)


@pytest.fixture
def recordings(walk: FolderSource) -> Recordings:
    """Return a walk against itself."""
    return read_recordings(walk, walk)


def forbidden(*_args: object, **_more: object) -> None:
    """Fail: no child may be started."""
    pytest.fail('a child was started')


def test_a_child_sees_what_this_process_sees(
    model: EvaluatedModel, recordings: Recordings, tmp_path: Path
) -> None:
    """Rankings, matches and hashes; and its memory is that of one model."""
    calls: list[tuple[int, int]] = []
    found = observe(model, recordings, ContentCache(tmp_path),
                    lambda done, total: calls.append((done, total)))
    expected = two_recordings.measure(
        *recordings.sources,
        load_extractor(model.path, engine='onnxruntime', threads=1))
    np.testing.assert_array_equal(found.measurement.rows, expected.rows)
    np.testing.assert_allclose(found.measurement.similarities, expected.similarities, atol=1e-6)
    decided = [[(query.status, query.decided_row, query.reason) for query in run.queries]
               for run in (found.measurement, expected)]
    assert decided[0] == decided[1]
    assert found.measurement.cold_starts == expected.cold_starts
    assert found.measurement.reference_sha256 == expected.reference_sha256
    assert calls[-1] == (2 * COUNT, 2 * COUNT)
    assert not found.cached
    assert found.measurement.recalled == 0
    assert 1e6 < found.model_resident_bytes < found.measurement.resident_bytes < 1e9
    assert 0 < found.load_s < 600
    assert 0 <= found.others_cores <= (os.cpu_count() or 1)


def test_the_same_question_is_answered_from_the_file(
    model: EvaluatedModel, recordings: Recordings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is as it was, to the last bit."""
    first = observe(model, recordings, ContentCache(tmp_path))
    monkeypatch.setattr(processes, 'start', forbidden)
    again = observe(model, recordings, ContentCache(tmp_path))
    assert again.cached
    np.testing.assert_array_equal(again.measurement.rows, first.measurement.rows)
    np.testing.assert_array_equal(again.measurement.similarities, first.measurement.similarities)
    assert again.measurement.queries == first.measurement.queries
    assert replace(again, measurement=first.measurement, cached=False) == first
    kept = ('bytes_per_place', 'resident_bytes', 'reference_names', 'query_sha256')
    assert [getattr(again.measurement, name) for name in kept] == [
        getattr(first.measurement, name) for name in kept]


@pytest.mark.parametrize('damage', ['bit', 'cut', 'empty', 'other'])
def test_a_damaged_file_is_measured_again(
    damage: str, model: EvaluatedModel, recordings: Recordings, tmp_path: Path
) -> None:
    """The descriptors are still there, so it is quick; the new file is good."""
    first = observe(model, recordings, ContentCache(tmp_path))
    path, = tmp_path.glob('observation-*.npz')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({
        'bit': bytes(data), 'cut': path.read_bytes()[:-9], 'empty': b'',
        'other': b'PK not at all'}[damage])
    again = observe(model, recordings, ContentCache(tmp_path))
    assert not again.cached
    assert again.measurement.recalled == 2 * COUNT
    np.testing.assert_array_equal(again.measurement.rows, first.measurement.rows)
    assert [query.inference_ms for query in again.measurement.queries] == [
        query.inference_ms for query in first.measurement.queries]
    assert observe(model, recordings, ContentCache(tmp_path)).cached


@pytest.mark.parametrize('values', [None, {}, {'measurement': {'queries': [{'index': 1}]}}])
def test_a_file_of_another_version_with_a_good_checksum_is_not_believed(
    values: object, model: EvaluatedModel, recordings: Recordings, tmp_path: Path
) -> None:
    """Its fields are checked one by one."""
    cache = ContentCache(tmp_path)
    observe(model, recordings, cache)
    path, = tmp_path.glob('observation-*.npz')
    path.unlink()
    cache.keep(path.stem.rpartition('-')[0], Entry({'rows': np.zeros(1)}, values))
    assert not observe(model, recordings, cache).cached


def test_whatever_decides_the_result_is_part_of_the_question(
    model: EvaluatedModel, recordings: Recordings, walk: FolderSource
) -> None:
    """Another engine, thread count, model, image, order, stamp."""
    facts = observation._facts(model)
    for other in (replace(model, engine='opencv'), replace(model, threads=2),
                  replace(model, sha256='0' * 64)):
        assert observation._facts(other) != facts
    assert observation._facts(replace(model, label='other')) == facts
    slower = read_recordings(FolderSource(walk.path, rate_hz=1.0), walk)
    assert slower.digest != recordings.digest
    (walk.path / '0.png').write_bytes((walk.path / '1.png').read_bytes())
    assert read_recordings(walk, walk).digest != recordings.digest


def test_a_model_that_was_replaced_meanwhile_is_not_measured(
    recordings: Recordings, tmp_path: Path
) -> None:
    """Its numbers would be kept as those of the other file, for good."""
    path = tmp_path / 'model.vpr'
    write_model(path, make_tiny_model())
    known = find_models([path], engine='onnxruntime', threads=1)[0]
    path.unlink()
    write_model(path, make_tiny_model(seed=5))
    with pytest.raises(VprError, match='was changed since'):
        observe(known, recordings, ContentCache(tmp_path))
    assert not list(tmp_path.glob('observation-*'))


def test_images_that_were_replaced_meanwhile_are_not_kept(
    model: EvaluatedModel, recordings: Recordings, tmp_path: Path, walk: FolderSource
) -> None:
    """The digest of before would stand for the pixels of after."""
    (walk.path / '0.png').write_bytes((walk.path / '1.png').read_bytes())
    with pytest.raises(VprError, match='were changed while'):
        observe(model, recordings, ContentCache(tmp_path))
    assert not list(tmp_path.glob('observation-*'))


def test_all_code_that_decides_is_part_of_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only draws or trains is not."""
    root = tmp_path / 'package'
    files = [root / name for name in (
        'images/pixels.py', 'model_file/spec.py', 'offline/measuring/race.py', 'cli/main.py',
        'offline/training/losses.py', 'offline/reports/evaluation.py', 'decision/decider.py')]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('a = 1')
    monkeypatch.setattr(observation.vpr_compressed, '__file__', str(root / '__init__.py'))
    observation.code_digest.cache_clear()
    digests, of_descriptors = [observation.code_digest()], []
    for file in files:
        file.write_text('a = 2')
        observation.code_digest.cache_clear()
        digests.append(observation.code_digest())
        of_descriptors.append(observation.code_digest(observation._NO_DESCRIPTOR))
    monkeypatch.undo()
    observation.code_digest.cache_clear()
    assert len(set(digests[:4])) == 4
    assert len(set(digests[3:-1])) == 1
    assert digests[-1] != digests[-2]
    assert of_descriptors[-1] == of_descriptors[-2], 'a descriptor is not decided there'


def test_another_calibration_of_the_same_weights_spares_the_network(
    recordings: Recordings, tmp_path: Path
) -> None:
    """As after fitting it to the site: another decision, the same descriptors and milliseconds."""
    tiny, paths = make_tiny_model(), (tmp_path / 'one.vpr', tmp_path / 'other.vpr')
    write_model(paths[0], tiny)
    write_model(paths[1], replace(tiny, calibration=replace(
        tiny.calibration, fitted_on='another site')))
    cache = ContentCache(tmp_path / 'cache')
    first, second = (
        observe(model, recordings, cache)
        for model in find_models(paths, engine='onnxruntime', threads=1))
    assert not second.cached
    assert (first.measurement.recalled, second.measurement.recalled) == (0, 2 * COUNT)
    assert [query.inference_ms for query in second.measurement.queries] == [
        query.inference_ms for query in first.measurement.queries]


def test_how_it_is_walked_is_part_of_the_question(
    model: EvaluatedModel, recordings: Recordings, tmp_path: Path
) -> None:
    """Replay, decision and mode; the descriptors are the same."""
    cache = ContentCache(tmp_path)
    for number, trial in enumerate((
            Trial(), Trial(replay=Replay(reverse=True)), Trial(replay=Replay(cut=((0, 2),))),
            Trial(decision=DecisionConfig(min_precision=0.9)))):
        found = observe(model, recordings, cache, trial=trial)
        assert not found.cached
        assert bool(found.measurement.recalled) == (number > 0)
        assert observe(model, recordings, cache, trial=trial).cached


def test_reading_tells_how_far_it_is(walk: FolderSource) -> None:
    """Both recordings are counted together."""
    calls: list[tuple[int, int]] = []
    found = read_recordings(
        walk, walk, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 2 * COUNT) for number in range(1, 2 * COUNT + 1)]
    assert len(found) == 2 * COUNT


def test_the_reason_of_a_child_reaches_the_user(
    model: EvaluatedModel, walk: FolderSource, tmp_path: Path
) -> None:
    """An image that cannot be decoded; nothing is kept as a result."""
    (walk.path / '3.png').write_text('no image')
    with pytest.raises(VprError, match=r'3\.png'):
        observe(model, read_recordings(walk, walk), ContentCache(tmp_path))
    assert not list(tmp_path.glob('observation-*'))


class OwnSource(FolderSource):
    """A source that only this process has."""


def test_a_source_that_cannot_travel_is_named(
    model: EvaluatedModel, walk: FolderSource, tmp_path: Path
) -> None:
    """Instead of another source in its place."""
    source = OwnSource(walk.path)
    with pytest.raises(VprError, match=r'cannot hand folder .*walk'):
        observe(model, read_recordings(source, source), ContentCache(tmp_path))


def test_every_kind_of_source_travels(walk: FolderSource, tmp_path: Path) -> None:
    """And gives the same frames on the other side."""
    (walk.path / 'poses.csv').write_text('name,x_m,y_m\n' + ''.join(
        f'{number}.png,{number},0.5\n' for number in range(COUNT)))
    listed = ImageList(walk.path, [
        ListedImage(file=walk.path / '1.png', name='a', stamp_ns=7, box=(4, 4, 60, 40)),
        ListedImage(file=walk.path / '2.png', name='b')], rate_hz=3.0, note='two')
    with bag_maker(tmp_path / 'bag', 'mcap') as maker:
        for second in range(3):
            stamp_ns = START + second * SECOND
            maker.image('/camera', np.full((4, 6, 3), second, np.uint8), stamp_ns, stamp_ns)
            maker.pose('nav_msgs/msg/Odometry', stamp_ns, x=float(second))
    bag = BagSource(tmp_path / 'bag', pose_topic=POSES)
    for source in (walk, FolderSource(walk.path, rate_hz=5.0), listed, bag):
        copy = source_from_values(json.loads(
            json.dumps(source_to_values(source), default=processes.plain)))
        assert copy.describe() == source.describe()
        assert read_recordings(copy, copy).digest == read_recordings(source, source).digest


def test_an_interrupted_child_is_no_result(
    model: EvaluatedModel, recordings: Recordings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may reach the child first."""
    (tmp_path / 'interrupted.py').write_text('raise SystemExit(130)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(model_process, 'MODULE', 'interrupted')
    with pytest.raises(MeasurementCancelledError):
        observe(model, recordings, ContentCache(tmp_path))


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    """Before anything is measured."""
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(VprError, match='another folder with --cache'):
        ContentCache(tmp_path / 'file' / 'cache')


def test_a_source_that_cannot_be_read_is_refused_first(walk: FolderSource) -> None:
    """A folder that lost a file after it was listed."""
    (walk.path / '2.png').unlink()
    with pytest.raises(SourceError, match=r'2\.png'):
        read_recordings(walk, walk)


def test_the_facts_of_a_model_are_those_of_its_file(
    model: EvaluatedModel, tiny_model_path: Path
) -> None:
    """Counted from the file; nothing was run."""
    spec = read_model(tiny_model_path).spec
    size = read_model(tiny_model_path).preprocessing
    assert model.file_bytes == tiny_model_path.stat().st_size
    assert (model.dimension, model.parameters) == (spec.dimension, spec.parameters())
    assert model.multiply_adds == sum(multiply_adds(spec, size.width, size.height).values()) > 0
    assert (model.engine, model.threads, model.label) == ('onnxruntime', 1, tiny_model_path.stem)


def test_names_tell_models_apart() -> None:
    """As short as possible."""
    assert labels([Path('/x/a/model.vpr'), Path('/y/b/model.vpr'), Path('/x/small.vpr')]) == [
        'a/model', 'b/model', 'small']
    assert labels([Path('/x/a/m.vpr'), Path('/y/a/m.vpr')]) == ['x/a/m', 'y/a/m']
    assert labels([Path('only.vpr')]) == ['only']


def test_every_model_is_looked_at_before_any_work(tmp_path: Path, tiny_model_path: Path) -> None:
    """Missing, damaged, or given twice under two names."""
    (tmp_path / 'cut.vpr').write_bytes(tiny_model_path.read_bytes()[:-40])
    (tmp_path / 'copy.vpr').write_bytes(tiny_model_path.read_bytes())
    for other, message, kind in (
            ('gone', 'no model file at', ModelFileError), ('cut', 'damaged', ModelFileError),
            ('copy', 'give each --model once', ConfigError)):
        with pytest.raises(kind, match=message):
            find_models([tiny_model_path, tmp_path / f'{other}.vpr'], engine='onnxruntime',
                        threads=1)


def test_load_of_a_child_is_that_of_another_program(tmp_path: Path) -> None:
    """As on a real machine, idle or busy."""
    load = OtherLoad()
    subprocess.run([sys.executable, '-c', (
        'import time\nend = time.process_time() + 0.7\n'
        'while time.process_time() < end: pass')], check=True, cwd=tmp_path)
    assert load.cores() > 0.3
