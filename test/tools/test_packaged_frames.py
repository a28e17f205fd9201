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

"""The frames in the package are those that the tool renders."""

from __future__ import annotations

from pathlib import Path
import re
import shutil

import cv2
import numpy as np
import pytest
from tools.made_up_town.__main__ import main
from tools.made_up_town.laps import encode
from tools.made_up_town.laps import first_lap
from tools.made_up_town.laps import Lap
from tools.made_up_town.laps import poses_table
from tools.made_up_town.laps import render_lap
from tools.made_up_town.laps import second_lap
from tools.made_up_town.laps import SEED

from vpr_compressed.images.pixels import rgb_from_encoded
from vpr_compressed.offline.demo.made_up_town import FRAMES

#: Of every lap, one frame in so many is rendered again.
EVERY = 25
LAPS = [first_lap(), second_lap()]


@pytest.mark.parametrize('lap', LAPS, ids=lambda lap: lap.name)
def test_the_tool_still_renders_the_packaged_frames(lap: Lap) -> None:
    """
    Grey levels differ by less than one on average, so that another NumPy or OpenCV may round.

    Frames of neighbouring places differ by more than ten.
    """
    folder = FRAMES / lap.name
    stored = {
        file.name: rgb_from_encoded(file.read_bytes()) for file in
        sorted(folder.glob('*.webp'))[::EVERY]}
    assert len(stored) == lap.frames // EVERY
    for (name, kept), (_, image) in zip(
            stored.items(), render_lap(lap, SEED, range(0, lap.frames, EVERY))):
        again = rgb_from_encoded(encode(image))
        assert kept.shape == again.shape == (480, 640, 3)
        assert np.abs(kept.astype(int) - again).mean() < 1.0, name


@pytest.mark.parametrize('lap', LAPS, ids=lambda lap: lap.name)
def test_every_packaged_frame_has_its_pose(lap: Lap) -> None:
    """The table is the same to the last digit, and names all images that are there."""
    folder = FRAMES / lap.name
    table = (folder / 'poses.csv').read_text(encoding='utf-8')
    assert table == poses_table(lap, SEED)
    names = re.findall(r'^\S+\.webp', table, re.MULTILINE)
    assert names == sorted(file.name for file in folder.glob('*.webp'))
    assert len(names) == lap.frames


def test_the_frames_stay_small() -> None:
    """They are in every clone and on every robot."""
    assert sum(file.stat().st_size for file in FRAMES.rglob('*')) < 2_500_000


def test_the_command_renders_a_short_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two images per lap into another folder; a lap needs that many."""
    assert main(['--out', str(tmp_path), '--frames', '2', '2']) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / 'reference'), str(tmp_path / 'query')]
    assert cv2.imread(str(tmp_path / 'query' / '0001.webp')).shape == (480, 640, 3)
    shutil.rmtree(tmp_path)
    with pytest.raises(SystemExit):
        main(['--out', str(tmp_path), '--frames', '1', '2'])
    assert not tmp_path.exists()
