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

"""Folders and real bags, sound and damaged: the same frames, or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil

from bag_maker import bag_maker
from bag_maker import POSES
from bag_maker import SECOND
from bag_maker import START
from bag_maker import STORAGES
import cv2
import numpy as np
import pytest

from vpr_compressed.errors import ImageFormatError
from vpr_compressed.errors import SourceError
from vpr_compressed.records import ImageArray
from vpr_compressed.records import Pose
from vpr_compressed.sources import open_source
from vpr_compressed.sources.image_files import image_files
from vpr_compressed.sources.image_files import natural_key

CAMERA = '/camera/image_raw'
COMPRESSED = '/camera/image_raw/compressed'


def picture(number: int) -> ImageArray:
    """Return a smooth picture that differs with its number."""
    y, x = np.mgrid[0:24, 0:32]
    channels = [(x * 5 + number * 20) % 256, (y * 9) % 256, (x + y + number) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encode(pixels: ImageArray, suffix: str = '.jpg') -> bytes:
    """Return an image file's bytes."""
    return bytes(cv2.imencode(suffix, pixels[..., ::-1])[1])


def write_folder(path: Path, count: int = 3, suffix: str = '.jpg') -> Path:
    """Write images whose names sort wrongly without natural order."""
    path.mkdir()
    for number in range(count):
        (path / f'image{8 + number}{suffix}').write_bytes(encode(picture(number), suffix))
    return path


def write_bag(path: Path, storage: str = 'sqlite3', *, count: int = 3) -> Path:
    """Write the images of :func:`write_folder` as a bag with one compressed topic."""
    with bag_maker(path, storage) as maker:
        for number in range(count):
            stamp = START + number * SECOND
            maker.jpeg(COMPRESSED, encode(picture(number)), stamp, stamp + 7)
    return maker.path


@pytest.mark.parametrize('storage', STORAGES)
def test_compressed_bag_and_folder_give_the_same_frames(storage: str, tmp_path: Path) -> None:
    """Pixels and stored bytes are equal, so results are equal to the digit."""
    folder = open_source(write_folder(tmp_path / 'images'))
    bag = open_source(write_bag(tmp_path / 'bag', storage))
    assert (folder.kind, bag.kind, len(folder), len(bag)) == ('folder', 'bag', 3, 3)
    for one, other in zip(folder, bag):
        np.testing.assert_array_equal(one.load(), other.load())
        assert one.encoded is not None
        assert other.encoded is not None
        assert one.encoded() == other.encoded()


@pytest.mark.parametrize('storage', STORAGES)
def test_raw_bag_gives_the_pixels_that_were_recorded(storage: str, tmp_path: Path) -> None:
    """Raw images lose nothing and have no encoded form."""
    with bag_maker(tmp_path / 'raw', storage) as maker:
        for number in range(2):
            maker.image(CAMERA, picture(number), START + number, START + 5)
    frames = list(open_source(maker.path))
    assert [frame.encoded for frame in frames] == [None, None]
    assert [frame.stamp_ns for frame in frames] == [START, START + 1]
    assert frames[0].frame_id == 'camera'
    np.testing.assert_array_equal(frames[1].load(), picture(1))


def test_frames_of_a_bag_have_header_stamps_and_can_be_walked_twice(tmp_path: Path) -> None:
    """The recording time, 7 ns later here, is not used."""
    source = open_source(write_bag(tmp_path / 'bag'))
    first = [(frame.index, frame.stamp_ns, frame.name) for frame in source]
    assert first == [(n, START + n * SECOND, f'{COMPRESSED}[{n}]') for n in range(3)]
    assert first == [(frame.index, frame.stamp_ns, frame.name) for frame in source]


def test_header_without_a_time_falls_back_to_the_time_of_recording(tmp_path: Path) -> None:
    """Some cheap camera drivers never fill the stamp."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.image(CAMERA, picture(0), 0, START + 5)
    assert next(iter(open_source(maker.path))).stamp_ns == START + 5


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_bag_is_read_from_its_file_and_without_metadata(storage: str, tmp_path: Path) -> None:
    """A recorder that was killed leaves a folder without metadata.yaml."""
    path = write_bag(tmp_path / 'bag', storage)
    file = next(entry for entry in path.iterdir() if entry.name != 'metadata.yaml')
    assert len(list(open_source(file))) == 3
    (path / 'metadata.yaml').unlink()
    assert len(list(open_source(path))) == 3


@pytest.mark.parametrize('kind', [
    'nav_msgs/msg/Odometry', 'geometry_msgs/msg/PoseStamped',
    'geometry_msgs/msg/PoseWithCovarianceStamped'])
@pytest.mark.parametrize('storage', STORAGES)
def test_frames_take_the_pose_nearest_in_time(kind: str, storage: str, tmp_path: Path) -> None:
    """Three kinds of messages; a pose more than a tenth of a second away is none."""
    with bag_maker(tmp_path / 'bag', storage) as maker:
        for number in range(3):
            maker.jpeg(COMPRESSED, encode(picture(number)), START + number * SECOND, START)
        for offset, x in ((-400_000_000, 1.0), (100_000_000, 2.0), (900_000_000, 3.0)):
            maker.pose(kind, START + offset, x)
    frames = list(open_source(maker.path, pose_topic=POSES))
    positions = [frame.pose and frame.pose.position_m for frame in frames]
    assert positions == [(2.0, 2.0, 0.5), (3.0, 2.0, 0.5), None]
    pose = frames[0].pose
    assert pose is not None
    assert pose.orientation_xyzw == (0.0, 0.0, 1.0, 0.0)
    variance = 0.0 if kind == 'geometry_msgs/msg/PoseStamped' else 0.25
    assert pose.covariance_diagonal == (variance,) * 6


def test_pose_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    """A NaN position must not become the place of a keyframe."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.jpeg(COMPRESSED, encode(picture(0)), START, START)
        maker.pose('nav_msgs/msg/Odometry', START, float('nan'))
        maker.pose('nav_msgs/msg/Odometry', START + 1000, 4.0)
    pose = next(iter(open_source(maker.path, pose_topic=POSES))).pose
    assert pose is not None
    assert pose.position_m[0] == 4.0


def test_several_image_topics_need_a_choice(tmp_path: Path) -> None:
    """The error lists the topics, and naming one works."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.image('/left/image_raw', picture(0), START, START)
        maker.image('/right/image_raw', picture(1), START, START)
    with pytest.raises(SourceError, match=r'2 image topics: /left/image_raw .* /right/image_raw'):
        open_source(maker.path)
    source = open_source(maker.path, topic='/right/image_raw')
    np.testing.assert_array_equal(next(iter(source)).load(), picture(1))


@pytest.mark.parametrize(('topic', 'message'), [
    ('/typo', r'/typo of bag .* is not in the bag; its image topics are: /camera/image_raw'),
    (POSES, r'/odom of bag .* is nav_msgs/msg/Odometry; its image topics are'),
])
def test_wrong_topic_is_refused_with_the_right_ones(
    topic: str, message: str, tmp_path: Path
) -> None:
    """A name that is absent, and one of another type."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.image(CAMERA, picture(0), START, START)
        maker.pose('nav_msgs/msg/Odometry', START, 1.0)
    with pytest.raises(SourceError, match=message):
        open_source(maker.path, topic=topic)


def test_wrong_pose_topic_is_refused_with_the_right_ones(tmp_path: Path) -> None:
    """An image topic gives no pose."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.image(CAMERA, picture(0), START, START)
        maker.pose('nav_msgs/msg/Odometry', START, 1.0)
    with pytest.raises(SourceError, match=r'is sensor_msgs/msg/Image.*are: /odom \(nav_msgs'):
        open_source(maker.path, pose_topic=CAMERA)


def test_bag_without_image_topic_is_refused(tmp_path: Path) -> None:
    """The error says what the bag has instead."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.pose('nav_msgs/msg/Odometry', START, 1.0)
    with pytest.raises(SourceError, match=r'no image topic .* it has: /odom \(nav_msgs'):
        open_source(maker.path)


def test_image_topic_without_messages_is_refused(tmp_path: Path) -> None:
    """A camera that was announced but never sent."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.topic(CAMERA, 'sensor_msgs/msg/Image')
        maker.pose('nav_msgs/msg/Odometry', START, 1.0)
    with pytest.raises(SourceError, match='holds no message'):
        open_source(maker.path)


def cut(data: bytes) -> bytes:
    """Keep the first half."""
    return data[:len(data) // 2]


def scramble(data: bytes) -> bytes:
    """Overwrite everything after the first 100 bytes."""
    return data[:100] + bytes(len(data) - 100)


@pytest.mark.parametrize('damage', [cut, scramble, lambda _: b'', lambda _: b'no bag at all'])
@pytest.mark.parametrize('storage', STORAGES)
def test_damaged_bag_is_refused(
    damage: Callable[[bytes], bytes], storage: str, tmp_path: Path
) -> None:
    """Whatever the reader stumbles over, the user sees one sentence with a remedy."""
    path = write_bag(tmp_path / 'bag', storage, count=20)
    file = path if path.is_file() else next(
        entry for entry in path.iterdir() if entry.name != 'metadata.yaml')
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SourceError, match='ros2 bag'):
        list(open_source(path))


@pytest.mark.parametrize('text', ['', '{', 'a: [1', 'rosbag2_bagfile_information: 3'])
def test_damaged_metadata_is_refused(text: str, tmp_path: Path) -> None:
    """The YAML file beside the storage is input too."""
    path = write_bag(tmp_path / 'bag')
    (path / 'metadata.yaml').write_text(text)
    with pytest.raises(SourceError, match='cannot read bag'):
        open_source(path)


def test_broken_image_in_a_sound_bag_is_an_image_error(tmp_path: Path) -> None:
    """It is raised when that frame is loaded, the others stay usable."""
    with bag_maker(tmp_path / 'bag') as maker:
        maker.jpeg(COMPRESSED, b'no jpeg', START, START)
        maker.jpeg(COMPRESSED, encode(picture(1)), START + 1, START + 1)
    frames = list(open_source(maker.path))
    with pytest.raises(ImageFormatError):
        frames[0].load()
    assert frames[1].load().shape == (24, 32, 3)


def test_folder_is_in_natural_order_with_stamps_from_the_rate(tmp_path: Path) -> None:
    """The name image10 comes after image9; two images per second by default."""
    path = write_folder(tmp_path / 'images')
    (path / '._image8.jpg').write_bytes(b'left by macOS')
    (path / 'notes.txt').write_text('not an image')
    frames = list(open_source(path))
    assert [frame.name for frame in frames] == ['image8.jpg', 'image9.jpg', 'image10.jpg']
    assert [frame.stamp_ns for frame in frames] == [0, SECOND // 2, SECOND]
    assert [frame.stamp_ns for frame in open_source(path, rate_hz=10.0)][1] == SECOND // 10


def test_images_of_sub_folders_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    """What is no image is left out, and folders named like one."""
    names = ['walk2/b.PNG', 'walk2/a10.jpg', 'walk2/a9.jpg', 'walk10/a.jpeg', 'z.pgm']
    for name in (*names, '._z.pgm', 'walk2/notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'folder.jpg').mkdir()
    assert image_files(tmp_path) == [tmp_path / 'z.pgm']
    found = [file.relative_to(tmp_path).as_posix() for file in image_files(tmp_path, below=True)]
    assert found == ['walk2/a9.jpg', 'walk2/a10.jpg', 'walk2/b.PNG', 'walk10/a.jpeg', 'z.pgm']
    with pytest.raises(SourceError, match='holds 0 entries but no image'):
        image_files(tmp_path / 'folder.jpg', below=True)


def test_natural_order_is_total() -> None:
    """Names that differ only in case or leading zeros still have one order."""
    names = ['a01', 'A1', 'a1', 'a2', 'a10', 'b', '10', '9']
    other = ['9', '10', 'b', 'a10', 'a2', 'a1', 'A1', 'a01']
    expected = sorted(names, key=natural_key)
    assert expected[:2] == ['9', '10']
    assert expected == sorted(other, key=natural_key)
    assert expected.index('a2') < expected.index('a10') < expected.index('b')


def test_poses_file_gives_stamps_and_poses(tmp_path: Path) -> None:
    """Orientation as quaternion or as yaw; an empty position is unknown."""
    path = write_folder(tmp_path / 'images')
    (path / 'poses.csv').write_text(
        'name,stamp_ns,x_m,y_m,z_m,qx,qy,qz,qw,yaw_rad\n'
        'image8.jpg,5,1,2,3,0,0,2,0,\n'
        'image9.jpg,6,4,5,,,,,,3.141592653589793\n'
        'image10.jpg,7,,,,,,,,\n')
    frames = list(open_source(path))
    assert [frame.stamp_ns for frame in frames] == [5, 6, 7]
    assert frames[0].pose == Pose(
        position_m=(1.0, 2.0, 3.0), orientation_xyzw=(0.0, 0.0, 1.0, 0.0))
    assert frames[1].pose is not None
    assert frames[1].pose.orientation_xyzw[2] == pytest.approx(1.0)
    assert frames[2].pose is None


@pytest.mark.parametrize(('text', 'message'), [
    ('', 'columns'),
    ('file,x_m,y_m\na,1,2\n', 'needed is "name"'),
    ('name,x_m,y_m\nimage8.jpg,1,2\n', 'no row for 2 of 3 images, e.g. image9.jpg'),
    ('name,x_m,y_m\nimage8.jpg,one,2\n', "line 2: x_m is 'one'"),
    ('name,x_m,y_m\nimage8.jpg,nan,2\n', 'finite number'),
    ('name,x_m,y_m\nimage8.jpg,1,\n', "y_m is ''"),
    ('name,stamp_ns\nimage8.jpg,1.5\n', 'line 2'),
    ('name,x_m,y_m,qw,qx,qy,qz\nimage8.jpg,1,2,0,0,0,0\n', 'quaternion'),
])
def test_wrong_poses_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """The line and the column are named."""
    path = write_folder(tmp_path / 'images')
    (path / 'poses.csv').write_text(text)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_folder_without_images_is_refused_and_its_folders_are_named(tmp_path: Path) -> None:
    """A common slip is to give the folder above."""
    with pytest.raises(SourceError, match='no image'):
        open_source(tmp_path)
    write_folder(tmp_path / 'walk1')
    with pytest.raises(SourceError, match='did you mean one of its folders: walk1'):
        open_source(tmp_path)


def test_path_that_is_no_source_is_refused(tmp_path: Path) -> None:
    """Missing, a single image, and some other file."""
    image = write_folder(tmp_path / 'images') / 'image8.jpg'
    with pytest.raises(SourceError, match='does not exist'):
        open_source(tmp_path / 'missing')
    with pytest.raises(SourceError, match='give its folder'):
        open_source(image)
    other = tmp_path / 'film.mp4'
    other.write_bytes(b'film')
    with pytest.raises(SourceError, match='neither an image folder nor a ROS bag'):
        open_source(other)


def test_topic_for_a_folder_and_a_wrong_rate_are_refused(tmp_path: Path) -> None:
    """Options that cannot have an effect are not ignored."""
    path = write_folder(tmp_path / 'images')
    with pytest.raises(SourceError, match='it has no topic'):
        open_source(path, topic=CAMERA)
    with pytest.raises(SourceError, match='rate'):
        open_source(path, rate_hz=0.0)


def test_file_that_vanishes_is_a_source_error(tmp_path: Path) -> None:
    """Folders change while they are read."""
    path = write_folder(tmp_path / 'images')
    frames = list(open_source(path))
    shutil.rmtree(path)
    with pytest.raises(SourceError, match='cannot read image'):
        frames[0].load()
    with pytest.raises(SourceError, match='cannot read folder'):
        image_files(path)


def test_sources_describe_themselves(tmp_path: Path) -> None:
    """One line with kind, number of images and topic."""
    folder = open_source(write_folder(tmp_path / 'images'))
    bag = open_source(write_bag(tmp_path / 'bag'))
    assert folder.describe() == f'folder {tmp_path / "images"} (3 images)'
    assert bag.describe() == f'bag {tmp_path / "bag"} (3 images on {COMPRESSED})'


@pytest.mark.data
@pytest.mark.parametrize(('bag', 'folder'), [
    ('gpw_day_left_sqlite3', 'day_left'), ('gpw_night_right_mcap', 'night_right')])
def test_recorded_walk_is_the_same_from_folder_and_bag(
    bag: str, folder: str, data_dir: Path
) -> None:
    """Real JPEG files and the bags made of them: the same pixels, frame by frame."""
    one = open_source(data_dir / 'gardens_point' / folder)
    other = open_source(data_dir / 'bags' / bag)
    assert len(one) == len(other) == 200
    for frame, message in zip(one, other):
        if frame.index % 20 == 0:
            np.testing.assert_array_equal(frame.load(), message.load())
