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

"""The verb build-map: real images, real maps, and every way it can go wrong."""

from __future__ import annotations

import math
from pathlib import Path

from bag_maker import bag_maker
from bag_maker import SECOND
from bag_maker import START
import pytest

from vpr_compressed.cli.main import main
from vpr_compressed.images.jpeg import START as START_OF_JPEG
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.recognizer import Recognizer


def build(source: Path, out: Path, model: Path, *more: str) -> int:
    """Run the verb."""
    return main(['build-map', str(source), '--out', str(out), '--model', str(model), *more])


def names_in(path: Path) -> list[str]:
    """Return the names of the places of a map."""
    with PlaceMap.open(path) as place_map:
        return [keyframe.name for keyframe in place_map.keyframes()]


def test_every_image_becomes_a_place(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order, under its file name, and the output says how many."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path) == 0
    assert names_in(path) == [f'{place}.png' for place in range(12)]
    assert 'mapped 12 places from folder' in capsys.readouterr().out


def test_poses_go_into_the_map(tmp_path: Path, walks: Path, tiny_model_path: Path) -> None:
    """From poses.csv, to the keyframe of the same image."""
    images = tmp_path / 'images'
    images.mkdir()
    lines = ['name,stamp_ns,x_m,y_m']
    for place in range(3):
        (images / f'{place}.png').write_bytes((walks / 'day' / f'{place}.png').read_bytes())
        lines.append(f'{place}.png,{place},{place}.5,2')
    (images / 'poses.csv').write_text('\n'.join(lines))
    assert build(images, tmp_path / 'site.vprmap', tiny_model_path) == 0
    with PlaceMap.open(tmp_path / 'site.vprmap') as place_map:
        poses = [keyframe.pose for keyframe in place_map.keyframes()]
    assert [pose and pose.position_m for pose in poses] == [
        (0.5, 2.0, 0.0), (1.5, 2.0, 0.0), (2.5, 2.0, 0.0)]


@pytest.mark.parametrize(('zone', 'frame'), [([], 'utm_32N'), (['--utm-zone', '31N'], 'utm_31N')])
def test_fixes_of_a_bag_go_into_the_map(
    zone: list[str], frame: str, tmp_path: Path, walks: Path, tiny_model_path: Path
) -> None:
    """As metres on the grid of one zone, which the map remembers."""
    pytest.importorskip('utm')
    with bag_maker(tmp_path / 'drive') as maker:
        for number in range(3):
            stamp = START + number * SECOND
            maker.jpeg('/image/compressed', (walks / f'day/{number}.png').read_bytes(), stamp, 0)
            maker.fix('/fix', stamp, (50.0 + number * 0.0001, 6.5))
    path = tmp_path / 'site.vprmap'
    assert build(maker.path, path, tiny_model_path, '--pose-topic', '/fix', *zone) == 0
    with PlaceMap.open(path) as place_map:
        poses = [keyframe.pose for keyframe in place_map.keyframes()]
    assert [pose and pose.frame_id for pose in poses] == [frame] * 3
    steps = [
        math.dist(one.position_m, other.position_m)
        for one, other in zip(poses, poses[1:]) if one and other]
    assert steps == pytest.approx([11.12, 11.12], abs=0.05)


def test_append_adds_a_session(walks: Path, tmp_path: Path, tiny_model_path: Path) -> None:
    """Named after its source; the first one stays as it was."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path) == 0
    assert build(walks / 'night_bag', path, tiny_model_path, '--append') == 0
    with PlaceMap.open(path) as place_map:
        assert place_map.sessions() == {1: 'day', 2: 'night_bag'}
        assert [keyframe.session for keyframe in place_map.keyframes()] == [1] * 12 + [2] * 12


def test_shortest_interval_thins_the_map(
    walks: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Two images per second, one place per second."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path, '--min-interval-s', '1') == 0
    assert names_in(path) == [f'{place}.png' for place in range(0, 12, 2)]


@pytest.mark.parametrize(('more', 'stored'), [
    ([], True), (['--thumbnail-width', '8'], True), (['--thumbnail-width', '0'], False)])
def test_places_are_stored_with_a_small_picture(
    more: list[str], stored: bool, walks: Path, tmp_path: Path, tiny_model_path: Path
) -> None:
    """Unless they are not wanted."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path, *more) == 0
    with PlaceMap.open(path) as place_map:
        data = [place_map.thumbnail(k.keyframe_id) for k in place_map.keyframes()]
        assert place_map.thumbnail_bytes == sum(len(one or b'') for one in data)
    assert all((one or b'').startswith(START_OF_JPEG) == stored for one in data)


def test_existing_map_is_kept_unless_told_otherwise(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names both ways out, and --overwrite is one of them."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path) == 0
    before = path.read_bytes()
    assert build(walks / 'night', path, tiny_model_path) == 1
    error = capsys.readouterr().err
    assert '--append' in error
    assert '--overwrite' in error
    assert path.read_bytes() == before
    assert build(walks / 'day', path, tiny_model_path, '--overwrite', '--min-interval-s', '3') == 0
    assert len(names_in(path)) == 2


def test_interrupt_keeps_what_is_mapped(
    walks: Path, tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C at the sixth image: five places, exit code 130, and a way to go on."""
    process, calls = Recognizer.process, iter(range(100))

    def interrupted(self: Recognizer, image: object, **more: object) -> object:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return process(self, image, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Recognizer, 'process', interrupted)
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path) == 130
    output = capsys.readouterr().out
    assert 'kept the 5 places' in output
    assert '--append' in output
    assert len(names_in(path)) == 5


def other_model(tiny_model_path: Path, folder: Path) -> Path:
    """Return a model whose descriptors have another id."""
    from dataclasses import replace

    from vpr_compressed.model_file.model import read_model
    from vpr_compressed.model_file.model import write_model

    model = read_model(tiny_model_path)
    tensors = dict(model.tensors)
    tensors['projection.bias'] = model.float_tensor('projection.bias') + 1
    write_model(folder / 'other.vpr', replace(model, tensors=tensors))
    return folder / 'other.vpr'


def test_map_of_another_model_is_refused(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its descriptors cannot be compared."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / 'day', path, tiny_model_path) == 0
    other = other_model(tiny_model_path, tmp_path)
    assert build(walks / 'night', path, other, '--append') == 1
    assert 'made with another model' in capsys.readouterr().err


def test_map_path_that_cannot_be_written_is_refused(
    walks: Path, tmp_path: Path, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where a folder should be; that fails for root too."""
    (tmp_path / 'file').write_text('in the way')
    assert build(walks / 'day', tmp_path / 'file' / 'site.vprmap', tiny_model_path) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert 'site.vprmap' in error


@pytest.mark.parametrize(('source', 'more', 'message'), [
    ('missing', [], 'does not exist'),
    ('.', [], 'did you mean one of its folders'),
    ('stereo_bag', [], '2 image topics: /left'),
    ('stereo_bag', ['--topic', '/top'], '/top of bag'),
    ('day', ['--engine', 'abacus'], 'abacus'),
])
def test_bad_input_is_one_clear_line(
    source: str, more: list[str], message: str, walks: Path, tmp_path: Path,
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no map file is left behind."""
    path = tmp_path / 'site.vprmap'
    assert build(walks / source, path, tiny_model_path, *more) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert not path.exists()


@pytest.mark.parametrize(('content', 'message'), [
    (None, 'no model file at'), (b'', 'model.vpr'), (b'cut', 'model.vpr'),
])
def test_missing_or_truncated_model_is_refused(
    content: bytes | None, message: str, walks: Path, tmp_path: Path, tiny_model_path: Path,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is mapped with half a network."""
    model = tmp_path / 'model.vpr'
    if content is not None:
        whole = tiny_model_path.read_bytes()
        model.write_bytes(whole[:len(whole) // 2] if content else b'')
    assert build(walks / 'day', tmp_path / 'site.vprmap', model) == 1
    assert message in capsys.readouterr().err
