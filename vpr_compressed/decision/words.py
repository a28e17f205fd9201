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

"""What is said of a decision to people."""

from __future__ import annotations

from vpr_compressed.records import Decision
from vpr_compressed.records import Keyframe
from vpr_compressed.records import Status

NOTHING = Decision(
    status=Status.EMPTY_MAP, keyframe=None, similarity=float('nan'), confidence=0.0,
    reason=Status.EMPTY_MAP.words)


def reason(
    status: Status, place: Keyframe, rival: Keyframe | None, *, confidence: float,
    threshold: float, views: int | None
) -> str:
    """
    Return a status in a sentence with the places and numbers it comes from.

    :param place: the named one
    :param rival: the one that looks most like it
    :param threshold: confidence that was needed
    :param views: changes of view that spoke for the place; None where one image decided alone
    """
    name = f'place {place.keyframe_id}'
    if status is Status.ACCEPTED:
        told = 'by one image' if views is None else (
            f'after {views} view{"" if views == 1 else "s"}')
        return f'{name} accepted, confidence {confidence:.2f} {told}'
    detail = {
        Status.UNKNOWN: f'{name} comes nearest',
        Status.LOOK_ALIKE: name if rival is None else f'{name} and {rival.keyframe_id}',
        Status.STANDING: f'{name} after {views} views'}.get(status, name)
    return (f'{status.words}: {detail}, confidence {confidence:.2f} where {threshold:.2f} is '
            'needed')
