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

"""Sources of images as plain data, to open them again in another process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpr_compressed.errors import VprError
from vpr_compressed.records import Pose
from vpr_compressed.sources import FolderSource
from vpr_compressed.sources import ImageList
from vpr_compressed.sources import ImageSource
from vpr_compressed.sources import ListedImage
from vpr_compressed.sources.bag import BagSource


def source_to_values(source: ImageSource) -> dict[str, Any]:
    """
    Return all that :func:`source_from_values` needs to open a source in another process.

    :raises VprError: if the source is of a kind that only this process knows
    """
    if type(source) is BagSource:
        names: tuple[str, ...] = ('path', 'topic', 'pose_topic', 'utm_zone')
    elif type(source) in (FolderSource, ImageList):
        names = ('path', 'kind', 'rate_hz', 'note', 'images')
    else:
        raise VprError(f'cannot hand {source.describe()} to a process of its own')
    return {name: getattr(source, name) for name in names}


def source_from_values(values: Mapping[str, Any]) -> ImageSource:
    """
    Return a source that gives the same frames as the one the values were made from.

    :param values: as JSON has them
    :raises VprError: if it cannot be opened any more
    """
    fields = {**values, 'path': Path(values['path'])}
    if 'topic' in fields:
        return BagSource(**fields)
    kind = fields.pop('kind')
    fields['images'] = [_listed(**image) for image in fields['images']]
    found = ImageList(**fields)
    found.kind = kind
    return found


def _listed(
    *, file: str, pose: Mapping[str, Any] | None, box: list[int] | None, **rest: Any
) -> ListedImage:
    """Return one image of a list; JSON has no tuples."""
    bounds: Any = None if box is None else tuple(box)
    fields: Any = {name: tuple(value) if isinstance(value, list) else value
                   for name, value in (pose or {}).items()}
    return ListedImage(
        file=Path(file), box=bounds, pose=Pose(**fields) if fields else None, **rest)
