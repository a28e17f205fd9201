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

"""How a family of published networks is entered into the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_compressed.model.importers.parts import ForeignNetwork


@dataclass(frozen=True, kw_only=True)
class Family:
    """
    A family of checkpoints with one layout.

    :param name: what ``--family`` takes
    :param kind: ``torch`` for a :class:`~.state_dict.StateDict`, ``mat`` for a MATLAB network
    :param needs: what its files hold, for people whose file is not recognised
    :param recognise: tells whether content of that kind is of this family
    :param build: translates content; its second argument is the file, for errors
    """

    name: str
    title: str
    kind: str
    needs: str
    recognise: Callable[[Any], bool]
    build: Callable[[Any, Path], ForeignNetwork]
