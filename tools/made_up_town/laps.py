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


"""Two laps through the made-up town, written as image folders with poses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import csv
from dataclasses import dataclass
import io
import math
import multiprocessing
from pathlib import Path
import signal

import cv2
import numpy as np
from numpy.typing import NDArray
from tools.made_up_town.camera import Camera
from tools.made_up_town.light import EVENING
from tools.made_up_town.light import Light
from tools.made_up_town.light import lit_backdrop
from tools.made_up_town.light import lit_pieces
from tools.made_up_town.light import MORNING
from tools.made_up_town.pixel_values import to_bytes
from tools.made_up_town.renderer import Scene
from tools.made_up_town.town import build_town
from tools.made_up_town.town import GROUND_BOX
from tools.made_up_town.town import Point

from vpr_compressed.errors import VprError
from vpr_compressed.records import ImageArray

FloatArray = NDArray[np.float64]

#: Way of the first lap round block A and of the second one, which goes round block B as well.
FIRST_WAY: tuple[Point, ...] = ((-6, -6), (46, -6), (46, 36), (-6, 36))
SECOND_WAY: tuple[Point, ...] = ((-6, -6), (86, -6), (86, 36), (-6, 36))
CORNER_M = 4.0
CAMERA_HEIGHT_M = 1.3
STEP_M = 0.05
NOISE_MARGIN = 64
MORNING_NS = 1_790_000_000_000_000_000
LATER_NS = 8 * 3600 * 1_000_000_000
#: Images per lap: two metres or less from one to the next.
FIRST_FRAMES, SECOND_FRAMES = 125, 150
SEED = 7
#: The node gives the same answers as with JPEG of quality 88 and 80, at a sixth of the bytes.
WEBP_QUALITY = 32


@dataclass(frozen=True, kw_only=True)
class Lap:
    """
    How one lap is driven and seen.

    :param name: folder name
    :param frames: number of images
    :param way: corners of the closed way
    :param start_m: where on the way it starts, metres
    :param left_m: mean and swing of the sideways offset, positive is left
    :param jitter_rad: standard deviation of yaw; pitch and roll get a third of it
    :param pace: how uneven the speed is, 0 is even
    :param noise: standard deviation of the sensor noise, grey levels
    :param gain: exposure
    :param blur_px: standard deviation of the lens blur
    """

    name: str
    frames: int
    way: tuple[Point, ...]
    light: Light
    start_m: float
    left_m: tuple[float, float]
    jitter_rad: float
    pace: float
    noise: float
    gain: float
    blur_px: float
    start_ns: int
    parking_seed: int
    period_ns: int = 1_000_000_000


def first_lap(frames: int = FIRST_FRAMES) -> Lap:
    """Return the lap the map is made from: a bright morning."""
    return Lap(name='reference', frames=frames, way=FIRST_WAY, light=MORNING, start_m=12.0,
               left_m=(0.0, 0.15), jitter_rad=0.006, pace=0.1, noise=2.0, gain=1.0, blur_px=0.5,
               start_ns=MORNING_NS, parking_seed=11)


def second_lap(frames: int = SECOND_FRAMES) -> Lap:
    """Return the lap to be recognised: evening, sideways, noisier, with a detour."""
    return Lap(name='query', frames=frames, way=SECOND_WAY, light=EVENING, start_m=9.0,
               left_m=(1.25, 0.25), jitter_rad=0.03, pace=0.25, noise=5.0, gain=1.0,
               blur_px=0.8, start_ns=MORNING_NS + LATER_NS, parking_seed=12)


def rounded_way(corners: Sequence[Point], radius_m: float = CORNER_M) -> FloatArray:
    """
    Return a closed way with round corners.

    :param corners: of the way, counter-clockwise, each turning left by 90 degrees
    :returns: ``(N, 3)`` x, y in metres and heading in radians, every ``STEP_M``
    """
    pieces = []
    points = np.asarray(corners, np.float64)
    for here, there in zip(points, np.roll(points, -1, axis=0)):
        length = float(np.linalg.norm(there - here))
        unit = (there - here) / length
        along = np.arange(radius_m, length - radius_m, STEP_M)[:, None]
        heading = math.atan2(unit[1], unit[0])
        pieces.append(np.column_stack([here + along * unit, np.full(len(along), heading)]))
        turned = np.arange(0, math.pi / 2, STEP_M / radius_m)
        left = np.array([-unit[1], unit[0]])
        centre = there - radius_m * unit + radius_m * left
        arc = centre + radius_m * (np.sin(turned)[:, None] * unit - np.cos(turned)[:, None] * left)
        pieces.append(np.column_stack([arc, heading + turned]))
    return np.vstack(pieces)


def drive(lap: Lap, rng: np.random.Generator) -> list[Camera]:
    """Return where the camera is for every frame of a lap."""
    way = rounded_way(lap.way)
    phase = np.linspace(0, 2 * math.pi, lap.frames)
    speed = 1 + lap.pace * np.sin(5 * phase + 1) * np.sin(2 * phase)
    done = np.concatenate([[0], np.cumsum(speed)[:-1]]) / speed.sum()
    index = (done * len(way) + lap.start_m / STEP_M).astype(int) % len(way)
    left = lap.left_m[0] + lap.left_m[1] * np.sin(3 * phase)
    cameras = []
    for (x, y, heading), offset in zip(way[index], left):
        yaw, pitch, roll = rng.normal(0, lap.jitter_rad, 3) * (1, 0.33, 0.33)
        cameras.append(Camera(
            position_m=(float(x - offset * math.sin(heading)),
                        float(y + offset * math.cos(heading)), CAMERA_HEIGHT_M),
            yaw_rad=float(heading + yaw), pitch_rad=float(pitch + 0.07), roll_rad=float(roll)))
    return cameras


def sensor_noise(camera: Camera, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return unit noise a little larger than the pictures, of which each takes a part."""
    shape = (camera.height + NOISE_MARGIN, camera.width + NOISE_MARGIN, 3)
    return rng.standard_normal(shape, np.float32)


def expose(
    image: ImageArray, lap: Lap, noise: NDArray[np.float32], rng: np.random.Generator
) -> ImageArray:
    """
    Return a picture with the faults of a small camera: blur, vignette, noise.

    :param noise: from ``sensor_noise``
    """
    height, width = image.shape[:2]
    y, x = np.ogrid[-1:1:height * 1j, -1:1:width * 1j]
    vignette = (lap.gain * (1 - 0.16 * (x * x + y * y))).astype(np.float32)[..., None]
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), lap.blur_px), np.float32) * vignette
    top, left = rng.integers(0, NOISE_MARGIN, 2)
    return to_bytes(soft + lap.noise * noise[top:top + height, left:left + width])


def write_world(
    folder: Path, *, first_frames: int = FIRST_FRAMES, second_frames: int = SECOND_FRAMES,
    seed: int = SEED, progress: Callable[[int], None] | None = None,
) -> tuple[Path, Path]:
    """
    Render both laps, one process each, into two image folders with poses.

    :param folder: is made; gets ``reference`` and ``query``
    :param progress: called now and then with the number of images written so far
    :returns: the two folders
    :raises VprError: rendering failed
    """
    laps = (first_lap(first_frames), second_lap(second_frames))
    folders = (folder / laps[0].name, folder / laps[1].name)
    for target in folders:
        _empty_folder(target)
    # Fresh interpreters: a fork would inherit the state of OpenCV's thread pool.
    context = multiprocessing.get_context('spawn')
    painters = [context.Process(target=_paint_alone, args=(lap, target, seed), daemon=True)
                for lap, target in zip(laps, folders)]
    for painter in painters:
        painter.start()
    try:
        while any(painter.is_alive() for painter in painters):
            for painter in painters:
                painter.join(0.1)
            if progress is not None:
                progress(sum(len(list(target.glob('*.webp'))) for target in folders))
    finally:
        for painter in painters:
            painter.terminate()
            painter.join()
    if any(painter.exitcode for painter in painters):
        raise VprError(f'rendering into {folder} failed, see the lines above; is the disk full?')
    return folders


def _paint_alone(lap: Lap, folder: Path, seed: int) -> None:
    """Render a lap in a process of its own; ctrl-C ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    write_lap(lap, folder, seed)


def write_lap(lap: Lap, folder: Path, seed: int) -> None:
    """
    Render a lap into WebP files and ``poses.csv``; uses one thread.

    :param folder: must exist
    :raises VprError: if a file cannot be written
    """
    cv2.setNumThreads(1)
    (folder / 'poses.csv').write_text(poses_table(lap, seed), encoding='utf-8')
    for number, image in render_lap(lap, seed, range(lap.frames)):
        try:
            (folder / _name(number)).write_bytes(encode(image))
        except OSError as error:
            raise VprError(f'cannot write {folder / _name(number)}: {error.strerror}') from error


def render_lap(
    lap: Lap, seed: int, numbers: Iterable[int]
) -> Iterator[tuple[int, ImageArray]]:
    """
    Yield some frames of a lap, uint8 RGB; each is the same whichever others are asked for.

    :param numbers: which ones, from 0
    """
    town = build_town(seed, lap.parking_seed)
    scene = Scene(lit_pieces(town.surfaces, town.heights, lap.light),
                  lit_backdrop(town.ground, GROUND_BOX, town.heights, lap.light))
    cameras = _cameras(lap, seed)
    noise = sensor_noise(cameras[0], np.random.default_rng(seed))
    for number in numbers:
        rng = np.random.default_rng((seed, lap.parking_seed, number))
        yield number, expose(scene.render(cameras[number]), lap, noise, rng)


def encode(image: ImageArray) -> bytes:
    """
    Return the WebP file of a picture.

    :raises VprError: if this OpenCV cannot write WebP
    """
    quality = [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY]
    good, data = cv2.imencode('.webp', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    if not good:
        raise VprError('this OpenCV cannot write WebP; use the one from PyPI')
    return data.tobytes()


def poses_table(lap: Lap, seed: int) -> str:
    """Return ``poses.csv``: where the robot was when each image was taken."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(['name', 'stamp_ns', 'x_m', 'y_m', 'z_m', 'qx', 'qy', 'qz', 'qw'])
    for number, camera in enumerate(_cameras(lap, seed)):
        half = camera.yaw_rad / 2
        x, y, _ = camera.position_m
        table.writerow([
            _name(number), lap.start_ns + number * lap.period_ns, f'{x:.4f}', f'{y:.4f}',
            '0', '0', '0', f'{math.sin(half):.6f}', f'{math.cos(half):.6f}'])
    return text.getvalue()


def _cameras(lap: Lap, seed: int) -> list[Camera]:
    """Return where the camera is for every frame of a lap in the town of a seed."""
    return drive(lap, np.random.default_rng((seed, lap.parking_seed)))


def _empty_folder(folder: Path) -> None:
    """Make a folder, and remove the images and poses an earlier run left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob('[0-9][0-9][0-9][0-9].webp'), *folder.glob('poses.csv')):
        old.unlink()


def _name(number: int) -> str:
    """Return the file name of a frame."""
    return f'{number:04d}.webp'
