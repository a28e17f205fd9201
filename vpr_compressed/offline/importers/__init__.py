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

"""
Published NetVLAD networks in our form; one module for each family of checkpoints.

To add a family, write a module with a ``FAMILY`` and enter it into :data:`FAMILIES`. Which family
a file belongs to is told by what is in it, never by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vpr_compressed.config import suggest
from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.importers import deep_vg
from vpr_compressed.offline.importers import hloc
from vpr_compressed.offline.importers import mat_struct
from vpr_compressed.offline.importers import nanne
from vpr_compressed.offline.importers import openibl
from vpr_compressed.offline.importers import patch_netvlad
from vpr_compressed.offline.importers.parts import Family
from vpr_compressed.offline.importers.parts import ForeignNetwork
from vpr_compressed.offline.importers.state_dict import read_state_dict
from vpr_compressed.offline.importers.state_dict import StateDict

FAMILIES: dict[str, Family] = {family.name: family for family in (
    mat_struct.FAMILY, nanne.FAMILY, patch_netvlad.FAMILY, hloc.FAMILY, deep_vg.FAMILY,
    openibl.FAMILY)}
_MATLAB_5 = b'MATLAB 5'
_MATLAB_7_3 = (b'MATLAB 7.3', b'\x89HDF')


def import_network(path: Path, family: str | None = None) -> tuple[Family, ForeignNetwork]:
    """
    Read a checkpoint of a published network.

    :param path: ``.mat`` struct export, or a file written by ``torch.save``
    :param family: key of :data:`FAMILIES`; None finds it out
    :returns: the family, and the network in its terms
    :raises ModelFileError: missing, damaged, unsafe, or of no known family
    """
    if family is not None and family not in FAMILIES:
        raise ModelFileError(f'unknown family {family!r}{suggest(family, FAMILIES)}')
    kind, content = _read(path)
    fitting = [FAMILIES[family]] if family is not None else [
        entry for entry in FAMILIES.values() if entry.kind == kind and entry.recognise(content)]
    if not fitting:
        raise ModelFileError(
            f'{path} is of no family this version knows. It has {content.describe()}. '
            f'The families need:\n{describe_families()}')
    found = fitting[0]
    if found.kind != kind:
        raise ModelFileError(
            f'{path} is a {"MATLAB" if kind == "mat" else "PyTorch"} file; family {found.name!r} '
            f'needs {found.needs}')
    return found, found.build(content, path)


def describe_families() -> str:
    """Return a line for each family: what its checkpoints hold."""
    return '\n'.join(f'  {family.name}: {family.needs}  [{family.title}]'
                     for family in FAMILIES.values())


def _read(path: Path) -> tuple[str, Any]:
    """Return the kind of a file, by its first bytes, and its content."""
    try:
        with path.open('rb') as stream:
            start = stream.read(16)
    except FileNotFoundError as error:
        raise ModelFileError(f'no checkpoint at {path}; check the path') from error
    except OSError as error:
        raise ModelFileError(f'cannot read {path}: {error.strerror}') from error
    if not start:
        raise ModelFileError(f'{path} is empty; download or copy it again')
    if start.startswith(_MATLAB_7_3):
        raise ModelFileError(
            f'{path} is a MATLAB 7.3 (HDF5) file, version 5 is needed; in MATLAB: '
            f'net = load("{path.name}").net; save("net_v5.mat", "net", "-v7"), after '
            'net_class2struct.m of uzh-rpg/netvlad_tf_open if it has class objects')
    if start.startswith(_MATLAB_5):
        return 'mat', mat_struct.read_mat(path)
    content: StateDict = read_state_dict(path)
    return 'torch', content
