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

"""Models and engines race in processes of their own, in turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import signal

import psutil
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.errors import VprError
from vpr_compressed.model_file.model import write_model
from vpr_compressed.offline.measuring import model_process
from vpr_compressed.offline.measuring.race import Entrant
from vpr_compressed.offline.measuring.race import Finisher
from vpr_compressed.offline.measuring.race import race

CHILD = """
import json, os, sys
name = json.loads(sys.argv[1])['engine']
log = open({log!r}, 'a', buffering=1)
def say(values):
    print(json.dumps({{'result': values}}), flush=True)
if name == 'broken':
    sys.exit(7)
say({{'engine': name, 'precision': 'int8', 'rounds_activations': False, 'model_bytes': 1,
     'load_s': 0.5, 'resident_bytes': 7, 'peak_bytes': 9}})
assert 'made-up' in sys.stdin.readline()
say([[1.0, 0.0]])
for number, line in enumerate(sys.stdin):
    log.write(name + '\\n')
    if name == 'dies' and number == 3:
        os.kill(os.getpid(), {signal})
    say({{'wall_ms': float(number), 'cpu_ms': 2.0 * number}})
log.write('end\\n')
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put processes that note their turns in the place of the real ones; return their notes."""
    path = tmp_path / 'turns'
    (tmp_path / 'lane.py').write_text(
        CHILD.format(log=str(path), signal=int(signal.SIGKILL)))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(model_process, 'MODULE', 'lane')
    return path


def entrants(model: Path, *engines: str) -> list[Entrant]:
    """Return one entrant for each engine."""
    return [Entrant(name='tiny', model=model, engine=engine, threads=1) for engine in engines]


def test_real_engines_are_measured(tiny_model_path: Path) -> None:
    """Every column of the table is filled, and the engines agree."""
    seen: list[tuple[str, int, int]] = []
    one, other = entrants(tiny_model_path, 'onnxruntime', 'opencv')
    first, second = race(
        [one, replace(other, threads=2)], rounds=3, progress=lambda *stage: seen.append(stage))
    for found, engine in ((first, 'onnxruntime'), (second, 'opencv')):
        assert (found.error, found.engine, found.precision) == ('', engine, 'int8')
        assert 0.0 < found.p50_ms <= found.p95_ms
        assert found.cpu_ms > 0.0
        assert found.load_s > 0.0
        assert found.file_bytes == tiny_model_path.stat().st_size
        assert 0 <= found.resident_bytes <= found.peak_bytes
        assert not found.integers
    assert first.resident_bytes > 1e6
    assert (second.cosine_to(first) or 0.0) > 0.999
    assert seen[:2] == [('loading', 1, 2), ('loading', 2, 2)]
    assert seen[-1] == ('racing', 5, 5)
    assert set(first.to_json()) >= {'name', 'model', 'threads', 'p50_ms', 'peak_bytes'}


def test_they_take_turns_and_each_is_first_in_turn(log: Path, tiny_model_path: Path) -> None:
    """Two rounds warm up and do not count; all processes end."""
    found = race(entrants(tiny_model_path, 'a', 'b', 'c'), rounds=2)
    turns = log.read_text().split()
    assert turns[:12] == list('abcbcacababc')
    assert turns[12:] == ['end'] * 3
    assert [(one.p50_ms, one.cpu_ms) for one in found] == [(2.5, 5.0)] * 3
    assert (found[0].load_s, found[0].resident_bytes, found[0].peak_bytes) == (0.5, 7, 9)


def test_one_that_cannot_run_does_not_stop_the_others(log: Path, tiny_model_path: Path) -> None:
    """Its reason stands in its place."""
    broken, good = race(entrants(tiny_model_path, 'broken', 'good'), rounds=2)
    assert broken.error == 'broken ended with status 7'
    assert (good.error, good.p50_ms) == ('', 2.5)
    assert log.read_text().split().count('good') == 4


def test_one_that_dies_on_the_way_ends_the_race(log: Path, tiny_model_path: Path) -> None:
    """With how it ended; the others are ended, too."""
    with pytest.raises(VprError, match='dies was ended by signal 9; is there too little memory'):
        race(entrants(tiny_model_path, 'good', 'dies'), rounds=5)
    assert log.read_text().split().count('end') == 1


def test_an_interrupted_race_leaves_no_process(
    log: Path, tiny_model_path: Path
) -> None:
    """As with ctrl-C between two turns."""
    def interrupt(stage: str, done: int, _: int) -> None:
        if (stage, done) == ('racing', 3):
            raise KeyboardInterrupt
    before = {*psutil.Process().children()}
    with pytest.raises(KeyboardInterrupt):
        race(entrants(tiny_model_path, 'a', 'b'), rounds=5, progress=interrupt)
    assert log.read_text().split().count('end') == 2
    assert {*psutil.Process().children()} <= before


def test_descriptors_of_another_size_do_not_compare(tmp_path: Path) -> None:
    """A cosine between 16 and 32 numbers means nothing."""
    path = tmp_path / 'tiny.vpr'
    write_model(path, make_tiny_model())
    one, other = (Finisher(entrant=entrants(path, 'a')[0], descriptors=((1.0,) * size,))
                  for size in (1, 2))
    assert one.cosine_to(other) is None
    assert one.cosine_to(one) == 1.0
