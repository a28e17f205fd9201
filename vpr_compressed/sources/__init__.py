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

"""Where images come from: a folder or a ROS bag, told apart by looking."""

from __future__ import annotations

from pathlib import Path

from vpr_compressed.errors import SourceError
from vpr_compressed.sources.frames import EncodedImage
from vpr_compressed.sources.frames import Frame
from vpr_compressed.sources.frames import ImageSource
from vpr_compressed.sources.image_files import BAG_SUFFIXES
from vpr_compressed.sources.image_files import FORMATS
from vpr_compressed.sources.image_files import is_bag
from vpr_compressed.sources.image_files import METADATA_NAME
from vpr_compressed.sources.image_list import FolderSource
from vpr_compressed.sources.image_list import ImageList
from vpr_compressed.sources.image_list import ListedImage

__all__ = [
    'EncodedImage', 'FolderSource', 'Frame', 'ImageList', 'ImageSource',
    'ListedImage', 'open_source']


def open_source(
    path: Path, *, topic: str | None = None, pose_topic: str | None = None,
    rate_hz: float = 2.0, utm_zone: str | None = None
) -> ImageSource:
    """
    Open an image folder or a ROS bag, whichever is there.

    :param path: folder of images, bag folder, or one ``.db3``, ``.mcap`` or ``.bag`` file
    :param topic: image topic of a bag; needed only when it has several
    :param pose_topic: pose topic of a bag; a folder takes its poses from ``poses.csv``
    :param rate_hz: images per second of a folder without stamps
    :param utm_zone: zone of the positions of a NavSatFix topic, None for that of its first fix
    :raises SourceError: nothing there, not readable, no images, or the topic is not clear
    """
    if is_bag(path):
        # rosbags takes 5 MB, which a robot does without.
        from vpr_compressed.sources.bag import BagSource

        return BagSource(path, topic=topic, pose_topic=pose_topic, utm_zone=utm_zone)
    if path.is_dir():
        if topic is not None:
            raise SourceError(
                f'{path} is a folder of images, it has no topic {topic}; leave the topic out or '
                'give a bag')
        return FolderSource(path, rate_hz=rate_hz)
    if not path.exists():
        raise SourceError(f'{path} does not exist; give an image folder or a ROS bag')
    hint = f'give its folder {path.parent}' if path.suffix.lower() in FORMATS else (
        f'give an image folder or a bag ({", ".join(BAG_SUFFIXES)}, or a folder with '
        f'{METADATA_NAME})')
    raise SourceError(f'{path} is neither an image folder nor a ROS bag; {hint}')
