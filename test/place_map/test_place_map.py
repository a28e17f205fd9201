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

"""The map file: what is stored, what survives, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
import os
from pathlib import Path
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map import index as index_module
from vpr_compressed.place_map.place_map import PlaceMap
from vpr_compressed.records import DescriptorArray
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Pose

DIMENSION = 32
ROOT = Path(__file__).resolve().parents[2]
POSE = Pose(
    position_m=(1.5, -2.25, 0.125), orientation_xyzw=(0.0, 0.0, 0.6, 0.8), frame_id='odom',
    covariance_diagonal=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))


def unit(rng: np.random.Generator, count: int, dimension: int = DIMENSION) -> DescriptorArray:
    """Return random descriptors of unit norm."""
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder, in order."""
    return sorted(file.name for file in folder.iterdir())


def new_map(path: Path | None, dtype: str = 'int8', *, overwrite: bool = False) -> PlaceMap:
    """Return an empty map open for writing."""
    return PlaceMap.create(
        path, descriptor_id='model-a', dimension=DIMENSION, model_name='tiny',
        descriptor_dtype=dtype, overwrite=overwrite)


def stored_map(path: Path, rng: np.random.Generator, count: int = 60) -> DescriptorArray:
    """Make a closed map of random places and return their descriptors."""
    rows = unit(rng, count)
    with new_map(path) as place_map:
        for i, row in enumerate(rows):
            place_map.add(row, stamp_ns=i, name=f'{i}.png', pose=POSE)
    return rows


def run_python(code: str, *arguments: object) -> str:
    """Run code in a process of its own and return what it prints."""
    result = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)], cwd=ROOT, check=True,
        capture_output=True, text=True, timeout=60, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return result.stdout.strip()


@pytest.mark.parametrize('dtype', ['int8', 'fp16'])
def test_everything_comes_back_from_the_file(
    tmp_path: Path, rng: np.random.Generator, dtype: str
) -> None:
    """Keyframes, poses, sessions, pictures and search answers."""
    path = tmp_path / 'höf #1?.vprmap'
    rows = unit(rng, 3)
    with new_map(path, dtype) as place_map:
        assert place_map.begin_session('morning') == 1
        first = place_map.add(
            rows[0], stamp_ns=2 ** 62, pose=POSE, external_id='kf-9', name='a.png',
            thumbnail=b'jpeg')
        assert place_map.begin_session('evening') == 2
        second = place_map.add(rows[1], stamp_ns=-5)
        written = place_map.keyframes()
        answer = place_map.search(rows[2], 5)
    with PlaceMap.open(path, descriptor_id='model-a') as place_map:
        assert place_map.keyframes() == written == [first, second]
        assert place_map.keyframes_of([1])[1].pose == POSE
        assert place_map.keyframes_of([2])[2].pose is None
        assert place_map.sessions() == {1: 'morning', 2: 'evening'}
        assert (place_map.thumbnail(1), place_map.thumbnail(2)) == (b'jpeg', None)
        assert place_map.search(rows[2], 5) == answer
        assert (len(place_map), place_map.dimension, place_map.model_name) == (2, 32, 'tiny')


#: What 0.4.0 wrote, as ``.schema`` of sqlite3 shows it.
SCHEMA_OF_0_4_0 = """
CREATE TABLE header (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  descriptor_id TEXT NOT NULL, dimension INTEGER NOT NULL, descriptor_dtype TEXT NOT NULL,
  model_name TEXT NOT NULL, created_ns INTEGER NOT NULL, package_version TEXT NOT NULL);
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, started_ns INTEGER NOT NULL);
CREATE TABLE keyframes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL REFERENCES sessions (id),
  stamp_ns INTEGER NOT NULL, external_id TEXT NOT NULL, name TEXT NOT NULL,
  frame_id TEXT, x REAL, y REAL, z REAL, qx REAL, qy REAL, qz REAL, qw REAL,
  var_x REAL, var_y REAL, var_z REAL, var_roll REAL, var_pitch REAL, var_yaw REAL,
  descriptor BLOB NOT NULL, scale REAL NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX keyframes_by_time ON keyframes (session, stamp_ns);
CREATE TABLE thumbnails (
  keyframe INTEGER PRIMARY KEY REFERENCES keyframes (id) ON DELETE CASCADE, data BLOB NOT NULL);
PRAGMA application_id = 0x5650524D;
PRAGMA user_version = 1;
INSERT INTO header VALUES (1, 'model-a', 4, 'int8', 'default', 17, '0.4.0');
INSERT INTO sessions VALUES (1, 'monday', 18);
INSERT INTO keyframes VALUES (7, 1, 19, 'kf-9', 'a.png', 'map', 1, 2, 3, 0, 0, 0, 1,
  0.1, 0.2, 0.3, 0.4, 0.5, 0.6, X'007F0000', 0.0078, 2129260657);
"""


def test_a_map_of_0_4_0_opens_and_grows(tmp_path: Path) -> None:
    """And what is written today has the same tables."""
    old, new = tmp_path / 'old', tmp_path / 'new'
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(SCHEMA_OF_0_4_0)
    axes = np.eye(4, dtype=np.float32)
    with PlaceMap.open(old, descriptor_id='model-a') as place_map:
        found = place_map.search(axes[1], 1)[0]
        assert found.similarity == pytest.approx(1.0)
        assert found.keyframe == Keyframe(
            keyframe_id=7, session=1, stamp_ns=19, external_id='kf-9', name='a.png', pose=Pose(
                position_m=(1.0, 2.0, 3.0),
                covariance_diagonal=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))
        assert (place_map.thumbnail(7), place_map.thumbnail_bytes) == (None, 0)
        assert (place_map.sessions(), place_map.package_version) == ({1: 'monday'}, '0.4.0')
    with PlaceMap.open(old, read_only=False) as place_map:
        added = place_map.add(axes[2], stamp_ns=20, thumbnail=b'jpeg')
        assert (added.keyframe_id, added.session, place_map.thumbnail(8)) == (8, 2, b'jpeg')
    with PlaceMap.create(new, descriptor_id='model-a', dimension=4) as place_map:
        place_map.add(axes[0], stamp_ns=0)
    schemas = []
    for path in (old, new):
        with closing(sqlite3.connect(path)) as connection:
            schemas.append(connection.execute('SELECT name, sql FROM sqlite_master').fetchall())
    assert schemas[0] == schemas[1]


@pytest.mark.parametrize(('dtype', 'bytes_per_place', 'error'), [
    ('int8', 520, 5e-3), ('fp16', 1024, 3e-4)])
def test_stored_descriptors_keep_their_cosines(
    rng: np.random.Generator, dtype: str, bytes_per_place: float, error: float
) -> None:
    """A quarter of the bytes of float costs less than half a hundredth of similarity."""
    rows = unit(rng, 200, 512)
    place_map = PlaceMap.create(
        None, descriptor_id='a', dimension=512, descriptor_dtype=dtype)
    ids = [place_map.add(row, stamp_ns=0).keyframe_id for row in rows]
    decoded = place_map.descriptors(ids)
    assert place_map.bytes_per_place == bytes_per_place
    assert np.abs(decoded @ rows.T - rows @ rows.T).max() < error
    assert np.linalg.norm(decoded, axis=1) == pytest.approx(np.ones(200), abs=1e-6)


def test_a_descriptor_is_stored_with_unit_norm(rng: np.random.Generator) -> None:
    """Similarity is the cosine, whatever the length of what was given."""
    place_map = new_map(None)
    row = unit(rng, 1)[0]
    place_map.add(17.0 * row, stamp_ns=0)
    assert place_map.search(0.1 * row, 1)[0].similarity == pytest.approx(1.0, abs=1e-4)


def test_numbers_are_never_used_again(tmp_path: Path, rng: np.random.Generator) -> None:
    """Not after removal, not after clearing, not after opening again."""
    path = tmp_path / 'map'
    rows = unit(rng, 6)
    with new_map(path) as place_map:
        ids = [place_map.add(row, stamp_ns=0).keyframe_id for row in rows[:3]]
        assert place_map.remove([2, 3, 99]) == 2
        assert place_map.add(rows[3], stamp_ns=0).keyframe_id == 4
        place_map.clear()
        assert (len(place_map), place_map.search(rows[0], 3), place_map.sessions()) == (0, [], {})
    with PlaceMap.open(path, read_only=False) as place_map:
        added = place_map.add(rows[4], stamp_ns=0)
        assert ids == [1, 2, 3]
        assert (added.keyframe_id, added.session) == (5, 2)
        assert [c.keyframe for c in place_map.search(rows[4], 3)] == [added]
        assert place_map.keyframes_of([2, 5]) == {5: added}
        with pytest.raises(MapFileError, match='no keyframes'):
            place_map.descriptors([5, 1])


def test_removed_keyframes_take_their_picture_along(rng: np.random.Generator) -> None:
    """Nothing is left of a removed place."""
    place_map = new_map(None)
    place_map.add(unit(rng, 1)[0], stamp_ns=0, thumbnail=b'jpeg')
    assert place_map.thumbnail_bytes == 4
    place_map.remove([1])
    assert place_map.thumbnail(1) is None
    assert place_map.thumbnail_bytes == 0


def test_only_the_recent_part_of_the_current_session_is_excluded(
    rng: np.random.Generator
) -> None:
    """An earlier session counts whatever its stamps are."""
    place_map = new_map(None)
    row = unit(rng, 1)[0]
    for _ in range(2):
        place_map.begin_session()
        for stamp_ns in (10, 20, 30):
            place_map.add(row, stamp_ns=stamp_ns)
    found = place_map.search(row, 9, exclude_since_ns=20)
    assert [c.keyframe.keyframe_id for c in found] == [1, 2, 3, 4]
    found = place_map.search(row, 9, exclude_since_ns=-10 ** 30)  # 3e13 years
    assert [c.keyframe.keyframe_id for c in found] == [1, 2, 3]
    assert len(place_map.search(row, 9)) == 6


def test_a_map_opened_again_excludes_nothing_of_earlier_runs(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Mapping on starts a new session."""
    rows = stored_map(tmp_path / 'map', rng)
    with PlaceMap.open(tmp_path / 'map', read_only=False) as place_map:
        assert len(place_map.search(rows[0], 99, exclude_since_ns=0)) == 60
        assert place_map.add(rows[0], stamp_ns=1).session == 2


@pytest.mark.parametrize(('descriptor', 'message'), [
    (np.full(DIMENSION, np.nan), 'finite'),
    (np.full(DIMENSION, np.inf), 'finite'),
    (np.zeros(DIMENSION), 'not zero'),
    (np.ones(DIMENSION + 1), r'shape \(33,\), this map holds \(32,\)'),
    (np.ones((1, DIMENSION)), 'shape'),
])
def test_what_is_no_descriptor_is_refused(descriptor: DescriptorArray, message: str) -> None:
    """Neither stored nor searched."""
    place_map = new_map(None)
    with pytest.raises(MapFileError, match=message):
        place_map.add(descriptor, stamp_ns=0)
    with pytest.raises(MapFileError, match=message):
        place_map.search(descriptor, 1)
    assert len(place_map) == len(place_map.keyframes()) == 0


@pytest.mark.parametrize('pose', [
    Pose(position_m=(np.nan, 0.0, 0.0)),
    Pose(position_m=(0.0, 0.0, 0.0), orientation_xyzw=(0.0, 0.0, 0.0, 0.0)),
    Pose(position_m=(0.0, 0.0, 0.0), covariance_diagonal=(np.inf,) * 6),
])
def test_what_is_no_pose_is_refused(rng: np.random.Generator, pose: Pose) -> None:
    """Nav2 would get it one day."""
    place_map = new_map(None)
    with pytest.raises(MapFileError, match='pose'):
        place_map.add(unit(rng, 1)[0], stamp_ns=0, pose=pose)
    assert len(place_map) == 0


@pytest.mark.parametrize(('norm', 'stored'), [
    (0.9899, False), (0.9901, True), (1.0099, True), (1.0101, False)])
def test_a_quaternion_may_be_a_hundredth_off(
    rng: np.random.Generator, norm: float, stored: bool
) -> None:
    """Senders round to float32 or type three digits; what is further off is no rotation."""
    place_map = new_map(None)
    pose = Pose(position_m=(0.0, 0.0, 0.0), orientation_xyzw=(0.0, 0.6 * norm, 0.0, 0.8 * norm))
    if stored:
        assert place_map.add(unit(rng, 1)[0], stamp_ns=0, pose=pose).pose == pose
    else:
        with pytest.raises(MapFileError, match='quaternion of norm 1'):
            place_map.add(unit(rng, 1)[0], stamp_ns=0, pose=pose)
    assert len(place_map) == int(stored)


def test_a_map_of_another_model_is_refused_with_the_remedy(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Its descriptors mean nothing to this one."""
    stored_map(tmp_path / 'map', rng)
    for read_only in (True, False):
        with pytest.raises(MapFileError, match=r'model-a \(tiny\).*model-b.*build-map'):
            PlaceMap.open(tmp_path / 'map', descriptor_id='model-b', read_only=read_only)
    assert names(tmp_path) == ['map']


def set_pragma(pragma: str) -> Callable[[Path], None]:
    """Return a damage that changes a number in the header of the file."""
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f'PRAGMA {pragma}')
            connection.commit()
    return change


def change_bytes(change: Callable[[bytearray], bytes]) -> Callable[[Path], None]:
    """Return a damage that changes the bytes of the file."""
    return lambda path: (path.write_bytes(change(bytearray(path.read_bytes()))), None)[1]


def flipped(position: int, length: int = 1) -> Callable[[Path], None]:
    """Return a damage that inverts some bytes."""
    def flip(data: bytearray) -> bytes:
        at = position if position >= 0 else len(data) + position
        data[at:at + length] = bytes(255 - b for b in data[at:at + length])
        return bytes(data)
    return change_bytes(flip)


def change_descriptor(path: Path) -> None:
    """Change one bit of one stored descriptor, as a bad disk would."""
    with closing(sqlite3.connect(path)) as connection:
        blob = bytearray(connection.execute(
            'SELECT descriptor FROM keyframes WHERE id = 7').fetchone()[0])
        blob[3] ^= 1
        connection.execute('UPDATE keyframes SET descriptor = ? WHERE id = 7', (bytes(blob),))
        connection.commit()


DAMAGES = {
    'empty': (change_bytes(lambda data: b''), 'not a map'),
    'text': (change_bytes(lambda data: b'hello ' * 1000), 'not a map'),
    'cut in the first page': (change_bytes(lambda data: bytes(data[:700])), 'damaged|not a map'),
    'cut in the middle': (change_bytes(lambda data: bytes(data[:len(data) // 2])), 'damaged'),
    'last page lost': (change_bytes(lambda data: bytes(data[:-4096])), 'damaged'),
    'magic flipped': (flipped(3), 'not a map'),
    'page size flipped': (flipped(16, 2), 'damaged|not a map'),
    'schema flipped': (flipped(100, 8), 'damaged'),
    'keyframe page flipped': (flipped(-4096, 8), 'damaged'),
    'descriptor bit flipped': (change_descriptor, 'keyframe 7 is damaged'),
    'another application': (set_pragma('application_id = 1196444487'), 'not a map'),
    'version of the future': (set_pragma('user_version = 9'), 'version 9.*update'),
    'version zero': (set_pragma('user_version = 0'), 'version 0'),
    'a folder': (lambda path: (path.unlink(), path.mkdir(), None)[2], 'not a file'),
    'missing': (Path.unlink, 'does not exist'),
}


@pytest.mark.parametrize('read_only', [True, False])
@pytest.mark.parametrize('name', DAMAGES)
def test_a_damaged_file_is_refused_and_left_alone(
    tmp_path: Path, rng: np.random.Generator, name: str, read_only: bool
) -> None:
    """No damaged map is used in part, no byte is changed, no file left behind."""
    path = tmp_path / 'map'
    stored_map(path, rng)
    damage, message = DAMAGES[name]
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(MapFileError, match=message):
        PlaceMap.open(path, read_only=read_only)
    # a descriptor is looked at last, when the file has been put into writing mode and back
    if before is not None and (read_only or damage is not change_descriptor):
        assert path.read_bytes() == before
    assert names(tmp_path) == ([] if name == 'missing' else ['map'])


def test_a_damaged_picture_costs_a_reader_that_picture_only(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Places are found as before; a writer, which might make it worse, is refused."""
    path = tmp_path / 'map'
    rows = unit(rng, 3)
    with new_map(path) as place_map:
        for row in rows:
            place_map.add(row, stamp_ns=0, thumbnail=bytes(3000))
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'thumbnails'").fetchone()[0]
    flipped((page - 1) * 4096, 8)(path)
    with PlaceMap.open(path) as place_map:
        found = place_map.search(rows[2], 1)[0]
        assert (found.keyframe.keyframe_id, len(place_map.keyframes())) == (3, 3)
        with pytest.raises(MapFileError, match='damaged'):
            place_map.thumbnail(1)
        with pytest.raises(MapFileError, match='damaged'):
            _ = place_map.thumbnail_bytes
    with pytest.raises(MapFileError, match='damaged'):
        PlaceMap.open(path, read_only=False)


def test_an_existing_file_is_overwritten_only_on_request(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """And then the new map is empty, without remains of the old log."""
    path = tmp_path / 'map'
    stored_map(path, rng)
    with pytest.raises(MapFileError, match='exists already'):
        new_map(path)
    assert len(PlaceMap.open(path)) == 60
    (tmp_path / 'map-wal').write_bytes(b'old log')
    with new_map(path, overwrite=True) as place_map:
        assert len(place_map) == 0
    assert len(PlaceMap.open(path)) == 0


@pytest.mark.parametrize('where', ['no/such/folder/map', 'file/map', '/proc/map'])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, where: str) -> None:
    """With the words of the system and what to look at."""
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(MapFileError, match=r'map.*(No such file|Not a directory).*check path'):
        new_map(tmp_path / where)


def test_files_appear_and_go_as_described(tmp_path: Path, rng: np.random.Generator) -> None:
    """Sidecars while writing, one file afterwards, none from reading."""
    path = tmp_path / 'map'
    with new_map(path) as place_map:
        place_map.add(unit(rng, 1)[0], stamp_ns=0)
        assert 'map.lock' in names(tmp_path)
    assert names(tmp_path) == ['map']
    with PlaceMap.open(path) as place_map:
        assert (len(place_map), names(tmp_path)) == (1, ['map'])
    place_map.close()
    assert names(tmp_path) == ['map']


def test_a_saved_map_is_complete_as_one_file(tmp_path: Path, rng: np.random.Generator) -> None:
    """A copy made while the map is still open holds everything saved."""
    path = tmp_path / 'map'
    with new_map(path) as place_map:
        add_all(place_map, unit(rng, 20))
        place_map.save()
        (tmp_path / 'copy').write_bytes(path.read_bytes())
    with PlaceMap.open(tmp_path / 'copy') as copy:
        assert len(copy) == 20
    assert names(tmp_path) == ['copy', 'map']


def test_a_map_in_memory_cannot_be_saved_to_a_file() -> None:
    """The answer says how to keep one."""
    with pytest.raises(MapFileError, match='in memory only'):
        new_map(None).save()


def test_a_second_writer_is_kept_out_and_readers_read_along(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """In the same process as in another one."""
    path = tmp_path / 'map'
    code = ('import sys; from pathlib import Path\n'
            'from vpr_compressed.place_map.place_map import PlaceMap\n'
            'from vpr_compressed.errors import MapFileError\n'
            'try: PlaceMap.open(Path(sys.argv[1]), read_only=False)\n'
            'except MapFileError as error: print(error)\n'
            'print(len(PlaceMap.open(Path(sys.argv[1]))))')
    rows = unit(rng, 3)
    with new_map(path) as writer:
        writer.add(rows[0], stamp_ns=0)
        with pytest.raises(MapFileError, match='being written by another process'):
            PlaceMap.open(path, read_only=False)
        with pytest.raises(MapFileError, match='being written by another process'):
            new_map(path, overwrite=True)
        refusal, count = run_python(code, path).splitlines()
        assert 'being written by another process' in refusal
        assert count == '1'
        with PlaceMap.open(path) as reader:
            writer.add(rows[1], stamp_ns=1)
            assert len(reader) == 1
            writer.clear()
            assert reader.search(rows[0], 3) == []
        writer.add(rows[2], stamp_ns=2)
    with PlaceMap.open(path, read_only=False) as place_map:
        assert [k.stamp_ns for k in place_map.keyframes()] == [2]


def test_a_read_only_map_refuses_changes(tmp_path: Path, rng: np.random.Generator) -> None:
    """Each of them, and it is as before."""
    rows = stored_map(tmp_path / 'map', rng)
    with PlaceMap.open(tmp_path / 'map') as place_map:
        for change in (lambda: place_map.add(rows[0], stamp_ns=0), place_map.clear,
                       lambda: place_map.remove([1]), place_map.begin_session):
            with pytest.raises(MapFileError, match='read-only'):
                change()
        assert len(place_map) == len(place_map.keyframes()) == 60


def test_a_closed_map_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    """Instead of an error of SQLite."""
    rows = stored_map(tmp_path / 'map', rng)
    place_map = PlaceMap.open(tmp_path / 'map', read_only=False)
    place_map.close()
    for use in (place_map.keyframes, lambda: place_map.add(rows[0], stamp_ns=0),
                lambda: place_map.search(rows[0], 1), place_map.save):
        with pytest.raises(MapFileError, match='closed'):
            use()


READ_UNPRIVILEGED = """
import os, sys
from pathlib import Path
from vpr_compressed.errors import MapFileError
from vpr_compressed.place_map.place_map import PlaceMap
path = Path(sys.argv[1])
if os.geteuid() == 0:  # permissions do not hold root back
    os.setuid(65534)
try:
    path.with_name('probe').write_text('x')
    print('writable')
except PermissionError:
    print('read-only')
try:
    PlaceMap.open(path, read_only=False)
except MapFileError as error:
    print(error)
with PlaceMap.open(path) as place_map:
    print(len(place_map), len(place_map.search(place_map.descriptors([1])[0], 3)))
print(sorted(os.listdir(path.parent)))
"""


@pytest.mark.skipif(os.name != 'posix', reason='needs POSIX permissions')
@pytest.mark.parametrize('clean', [True, False])
def test_a_map_in_a_folder_that_cannot_be_written_can_be_read(
    rng: np.random.Generator, clean: bool
) -> None:
    """Also when its writer was killed; nothing is left behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / 'map'
        if clean:
            stored_map(path, rng)
        else:
            kill_while_adding(path, after=60)
            (folder / 'map.lock').unlink()
        before = names(folder)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        try:
            permission, refusal, counts, after = run_python(READ_UNPRIVILEGED, path).splitlines()
        finally:
            folder.chmod(0o755)
        assert permission == 'read-only'
        assert 'Permission denied' in refusal
        assert int(counts.split()[0]) >= 60
        assert counts.split()[1] == '3'
        assert after == str(before)


ADD_FOREVER = """
import sys
from pathlib import Path
import numpy as np
from vpr_compressed.place_map.place_map import PlaceMap
rng = np.random.default_rng(1)
place_map = PlaceMap.create(Path(sys.argv[1]), descriptor_id='model-a', dimension=32)
while True:
    keyframe = place_map.add(rng.standard_normal(32), stamp_ns=0, name='x' * 50)
    print(keyframe.keyframe_id, flush=True)
"""


def kill_while_adding(path: Path, after: int) -> int:
    """Kill a process that adds keyframes; return the last one it said was stored."""
    with subprocess.Popen(
            [sys.executable, '-c', ADD_FOREVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE,
            text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)}) as process:
        lines = [process.stdout.readline() for _ in range(after)] if process.stdout else []
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines() if process.stdout else []
    return int([line for line in lines if line.endswith('\n')][-1])


@pytest.mark.parametrize('after', [1, 37, 80])
@pytest.mark.parametrize('read_only', [True, False])
def test_a_killed_writer_loses_at_most_the_last_keyframe(
    tmp_path: Path, after: int, read_only: bool
) -> None:
    """The map opens at once, holds what was reported stored, and can be written again."""
    path = tmp_path / 'map'
    stored = kill_while_adding(path, after)
    with PlaceMap.open(path, read_only=read_only) as place_map:
        assert stored <= len(place_map) <= stored + 1
        ids = [k.keyframe_id for k in place_map.keyframes()]
        assert ids == list(range(1, len(ids) + 1))
    assert names(tmp_path) == ['map']
    with PlaceMap.open(path, read_only=False) as place_map:
        assert place_map.add(np.ones(32), stamp_ns=0).keyframe_id == len(ids) + 1


def add_all(place_map: PlaceMap, rows: DescriptorArray) -> None:
    """Add rows until one cannot be stored."""
    for row in rows:
        place_map.add(row, stamp_ns=0)


def test_a_full_disk_loses_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    """The keyframe that does not fit is reported, the ones before stay, and mapping goes on."""
    path = tmp_path / 'map'
    rows = unit(rng, 1000)
    with new_map(path) as place_map:
        connection = place_map._file.connection
        pages = connection.execute('PRAGMA page_count').fetchone()[0]
        connection.execute(f'PRAGMA max_page_count = {pages + 5}')
        with pytest.raises(MapFileError, match='disk is full; free some space'):
            add_all(place_map, rows)
        stored = len(place_map)
        assert 0 < stored == len(place_map.keyframes())
        assert len(place_map.search(rows[0], 1000)) == stored
        connection.execute('PRAGMA max_page_count = 100000')
        place_map.add(rows[-1], stamp_ns=0)
    assert len(PlaceMap.open(path)) == stored + 1


def test_threads_may_share_a_map(tmp_path: Path, rng: np.random.Generator) -> None:
    """One adds and searches while another counts, saves and clears."""
    rows = unit(rng, 60)
    errors: list[BaseException] = []
    with new_map(tmp_path / 'map') as place_map:
        def work() -> None:
            try:
                for row in rows:
                    place_map.add(row, stamp_ns=0)
                    place_map.search(row, 5)
            except BaseException as error:  # noqa: BLE001  (reported by the main thread)
                errors.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            len(place_map)
            place_map.save()
            if len(place_map) > 20:
                place_map.clear()
        worker.join()
        assert errors == []
        assert len(place_map) == len(place_map.keyframes())


def test_a_large_map_is_searched_by_sign_bits(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grown or loaded, it answers the same and takes one bit per value and one id per place."""
    monkeypatch.setattr(index_module, 'COMPACT_ABOVE', 100)
    rows = unit(rng, 120)
    path = tmp_path / 'map'
    with new_map(path) as place_map:
        add_all(place_map, rows)
        grown = [place_map.search(row, 5) for row in rows[:10]]
        assert place_map.index_kind == 'compact'
    with PlaceMap.open(path) as place_map:
        assert place_map.index_kind == 'compact'
        assert [place_map.search(row, 5) for row in rows[:10]] == grown
        assert [found[0].keyframe.keyframe_id for found in grown] == list(range(1, 11))
        assert place_map.index_bytes < 2 * len(place_map) * (DIMENSION // 8 + 8)
