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

"""The fastest engine that computes the right thing is taken, and the choice is kept."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
import signal
from typing import Any

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import EngineError
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.runtime import engines
from vpr_compressed.runtime import selection
from vpr_compressed.runtime.engines import ENGINES
from vpr_compressed.runtime.extractor import load_extractor
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.runtime.selection import candidates
from vpr_compressed.runtime.selection import choose_engine
from vpr_compressed.runtime.selection import Trial
from vpr_compressed.runtime.selection import try_engine

NAMES = ['onnxruntime', 'openvino', 'opencv']


@pytest.fixture
def model() -> Model:
    """Return a small model with reference descriptors."""
    model = make_tiny_model()
    reference = describe_reference(ENGINES.load(model, threads=1), model.preprocessing)
    return dataclasses.replace(model, reference=reference.astype(np.float16))


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    """Return its file."""
    write_model(tmp_path / 'model.vpr', model)
    return tmp_path / 'model.vpr'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return where choices are kept."""
    return tmp_path / 'cache' / 'engines.json'


class Race:
    """Stands in for the processes that try engines: says what it is told to, and counts."""

    def __init__(self, **trials: dict[str, Any]) -> None:
        self.trials = trials
        self.tried: list[str] = []

    def __call__(self, name: str, path: Path, threads: int) -> Trial:
        self.tried.append(name)
        return Trial(engine=name, **self.trials.get(name, {'error': 'not there'}))


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three engines be installed, whatever is."""
    monkeypatch.setattr(engines, 'find_spec', lambda name: name)


@pytest.mark.parametrize(('trials', 'wanted'), [
    ({'onnxruntime': {'milliseconds': 10.0}, 'openvino': {'milliseconds': 5.0}}, 'openvino'),
    ({'onnxruntime': {'milliseconds': 10.0}, 'openvino': {'milliseconds': 9.5}}, 'onnxruntime'),
    ({'onnxruntime': {'milliseconds': 10.0}, 'opencv': {'milliseconds': 40.0}}, 'onnxruntime'),
    ({'onnxruntime': {'milliseconds': 1.0, 'error': 'fails parity'},
      'opencv': {'milliseconds': 40.0}}, 'opencv'),
])
@pytest.mark.usefixtures('three')
def test_the_fastest_that_passes_is_taken(
    trials: dict[str, Any], wanted: str, model: Model, path: Path, cache: Path
) -> None:
    """The default keeps its place against one that is hardly faster: noise must not choose."""
    race = Race(**trials)
    choice = choose_engine(path, model, cache=cache, attempt=race)
    assert (choice.engine, choice.cached, race.tried) == (wanted, False, NAMES)
    assert all(trial.describe() in choice.describe() for trial in choice.trials)


@pytest.mark.usefixtures('three')
def test_a_choice_is_kept_for_this_machine_model_and_number_of_threads(
    model: Model, path: Path, cache: Path
) -> None:
    """The second start tries nothing; other threads or another model do."""
    race = Race(onnxruntime={'milliseconds': 10.0}, openvino={'milliseconds': 5.0})
    choose_engine(path, model, cache=cache, attempt=race)
    again = choose_engine(path, model, cache=cache, attempt=race)
    assert (again.engine, again.cached, len(race.tried)) == ('openvino', True, 3)
    assert 'earlier' in again.describe()
    choose_engine(path, model, threads=1, cache=cache, attempt=race)
    assert len(race.tried) == 6
    other = make_tiny_model(seed=9)
    choose_engine(path, dataclasses.replace(other, reference=model.reference), cache=cache,
                  attempt=race)
    assert len(race.tried) == 9
    assert choose_engine(path, model, cache=cache, attempt=race).cached


@pytest.mark.usefixtures('three')
@pytest.mark.parametrize('content', [
    '', '{', '[]', '{"key": 3}', '{"key": [{"engine": "openvino", "colour": 1}]}',
    '{"key": [{"engine": "openvino", "error": "broken"}]}'])
def test_a_damaged_cache_costs_a_second_race(
    content: str, model: Model, path: Path, cache: Path
) -> None:
    """It is made anew; so is one by which no engine runs."""
    race = Race(onnxruntime={'milliseconds': 10.0})
    choose_engine(path, model, cache=cache, attempt=race)
    key = next(iter(json.loads(cache.read_text())))
    cache.write_text(content.replace('key', key))
    choice = choose_engine(path, model, cache=cache, attempt=race)
    assert (choice.engine, choice.cached, len(race.tried)) == ('onnxruntime', False, 6)
    assert choose_engine(path, model, cache=cache, attempt=race).cached


@pytest.mark.usefixtures('three')
def test_a_cache_that_cannot_be_written_stops_nothing(
    model: Model, path: Path, tmp_path: Path
) -> None:
    """A robot may have a read-only home."""
    (tmp_path / 'file').write_text('')
    race = Race(onnxruntime={'milliseconds': 10.0})
    cache = tmp_path / 'file' / 'engines.json'
    assert choose_engine(path, model, cache=cache, attempt=race).engine == 'onnxruntime'
    assert not choose_engine(path, model, cache=cache, attempt=race).cached


@pytest.mark.usefixtures('three')
def test_when_none_can_run_the_model_every_reason_is_given(
    model: Model, path: Path, cache: Path
) -> None:
    """Nothing is kept, so a repaired engine is found at the next start."""
    race = Race(onnxruntime={'error': 'was ended by signal 4'}, openvino={'error': 'too old'})
    with pytest.raises(EngineError, match=r'signal 4.*too old.*not there.*Install another'):
        choose_engine(path, model, cache=cache, attempt=race)
    assert not cache.exists()


def test_without_a_choice_nothing_is_tried(
    model: Model, path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without reference descriptors, a single engine, and none at all."""
    race = Race()
    plain = dataclasses.replace(model, reference=None)
    assert choose_engine(path, plain, cache=cache, attempt=race).engine == 'onnxruntime'
    monkeypatch.setattr(engines, 'find_spec', {'cv2': 1, 'onnx': 1, 'torch': 1}.get)
    assert choose_engine(path, model, cache=cache, attempt=race).engine == 'opencv'
    monkeypatch.setattr(engines, 'find_spec', {'torch': 1}.get)
    with pytest.raises(EngineError, match='no inference engine is installed; install one'):
        choose_engine(path, model, cache=cache, attempt=race)
    assert not race.tried


@pytest.mark.usefixtures('three')
def test_a_model_with_rounded_activations_is_tried_in_float_too(model: Model) -> None:
    """Int8 may be slower than float; OpenCV computes in float anyway."""
    rounded = dataclasses.replace(model, activations={'stem': ActivationRange(0.1, 0)})
    assert candidates(model) == NAMES
    assert candidates(rounded) == [*NAMES, 'onnxruntime-float', 'openvino-float']


@pytest.mark.parametrize('name', NAMES)
def test_an_engine_is_tried_in_a_process_of_its_own(name: str, path: Path) -> None:
    """It is timed, agrees with the file, and is not loaded here."""
    if name not in ENGINES.installed():
        pytest.skip(f'{name} is not installed')
    trial = try_engine(name, path, 1)
    assert trial.passed, trial.error
    assert trial.cosine > 0.999
    assert trial.milliseconds > 0.0
    assert trial.resident_bytes > 1e7
    assert trial.load_s > 0.0


def test_an_engine_that_fails_parity_is_refused_with_its_cosine(
    model: Model, tmp_path: Path
) -> None:
    """The file says something else than what the engine computes."""
    path = tmp_path / 'other.vpr'
    write_model(path, dataclasses.replace(model, reference=-model.reference))
    trial = try_engine('onnxruntime', path, 1)
    assert not trial.passed
    assert 'fails parity: cosine -1.0000' in trial.error
    assert 'fails parity: cosine -1.0000' in trial.describe()


def test_what_goes_wrong_in_the_process_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An engine that is missing, one that crashes as on a CPU that lacks an instruction."""
    assert "unknown engine 'none'" in try_engine('none', path, 1).error
    (tmp_path / 'crash.py').write_text(
        f'import os; os.kill(os.getpid(), {int(signal.SIGILL)})')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(selection, 'MODULE', 'crash')
    assert 'was ended by signal 4' in try_engine('onnxruntime', path, 1).error
    (tmp_path / 'mute.py').write_text('')
    monkeypatch.setattr(selection, 'MODULE', 'mute')
    assert 'gave no answer' in try_engine('onnxruntime', path, 1).error


def test_an_extractor_chooses_and_says_so(path: Path, tmp_path: Path) -> None:
    """With ``auto``, the choice lies in the cache of the user; a name is taken as it is."""
    extractor = load_extractor(path, threads=1)
    assert extractor.engine_name in ENGINES.installed()
    assert 'ms, cosine' in extractor.engine_choice
    assert (Path(os.environ['XDG_CACHE_HOME']) / 'vpr_compressed' / 'engines.json').exists()
    named = load_extractor(path, engine='opencv', threads=1)
    assert (named.engine_name, named.choice.trials) == ('opencv', ())
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert float(named.describe(image) @ extractor.describe(image)) > 0.999
