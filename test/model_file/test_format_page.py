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

"""The page on the model file says enough to read one: its example does."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.config import config_from_mapping
from vpr_compressed.model_file.container import VERSION
from vpr_compressed.model_file.entropy import encode
from vpr_compressed.model_file.model import find_model
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import QuantizedTensor

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'model_file.md'


@pytest.fixture(scope='module')
def page() -> dict[str, Any]:
    """Return what the example on the page defines; it knows nothing of this package."""
    (code,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)
    assert 'vpr_compressed' not in code
    defined: dict[str, Any] = {}
    exec(compile(code, str(PAGE), 'exec'), defined)
    return defined


def assert_read(page: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check that the example finds the same weights, and return the header."""
    model = read_model(path)
    header, tensors = page['read'](path)
    assert [*tensors] == [*model.spec.tensor_shapes()]
    for name, values in tensors.items():
        wanted = model.float_tensor(name)
        assert values.shape == wanted.shape
        np.testing.assert_array_equal(values.astype(np.float32), wanted, err_msg=name)
    assert config_from_mapping(NetworkSpec, header['spec']) == model.spec
    return dict(header)


@pytest.mark.parametrize('name', ['default', 'small'])
def test_the_example_reads_the_packaged_models(page: dict[str, Any], name: str) -> None:
    """To the last bit."""
    assert_read(page, find_model(Path(name)))


def with_symbols(kind: str) -> Model:
    """Return the tiny model with a projection whose symbols take one of the three forms."""
    rng = np.random.default_rng(0)
    model = make_tiny_model()
    symbols = rng.integers(0, 7, (16, 32))
    if kind != 'dense':
        symbols[rng.uniform(size=symbols.shape) < {'sparse': 0.7, 'empty': 0.995}[kind]] = 0
    return dataclasses.replace(model, tensors={
        **model.tensors,
        'projection.weight': QuantizedTensor(
            (symbols - 3 * (symbols > 0)).astype(np.int8), np.full(16, 0.1, np.float32)),
        'point.weight': CodebookTensor(
            (np.arange(64) % 4).astype(np.uint8).reshape(8, 8, 1, 1),
            np.array([0.0, 0.5, -1.0, 1 / 3], np.float32)),
        'deep.weight': CodebookTensor(
            np.zeros((8, 1, 3, 3), np.uint8), np.array([0.5], np.float32))})


@pytest.mark.parametrize(('kind', 'form'), [('dense', 0), ('sparse', 1), ('empty', 2)])
def test_the_example_reads_every_coding(
    page: dict[str, Any], kind: str, form: int, tmp_path: Path
) -> None:
    """Grids in the three forms, codebooks, a single symbol, floats in both sizes."""
    model, path = with_symbols(kind), tmp_path / 'model.vpr'
    grid = model.tensors['projection.weight'].values
    assert encode(grid.reshape(-1).view(np.uint8))[4] == form
    write_model(path, model)
    assert_read(page, path)


def test_the_page_names_all_fields_and_the_newest_version(
    page: dict[str, Any], tmp_path: Path
) -> None:
    """A new field must not stay a secret."""
    text = PAGE.read_text(encoding='utf-8')
    assert f'1 or {VERSION};' in text
    write_model(tmp_path / 'model.vpr', with_symbols('sparse'))
    header, _ = page['read'](tmp_path / 'model.vpr')
    keys = {*header, *header['spec'], *header['preprocessing'], *header['decision'],
            *header['decision']['walk'],
            *header['spec']['layers'][0], *(key for entry in header['tensors'] for key in entry)}
    assert [key for key in sorted(keys) if f'`{key}`' not in text] == []


def test_the_descriptor_id_is_what_the_page_says(page: dict[str, Any], tmp_path: Path) -> None:
    """Made from the words of the page alone."""
    write_model(tmp_path / 'model.vpr', make_tiny_model().with_precision('fp32'))
    header, tensors = page['read'](tmp_path / 'model.vpr')
    text = page['json'].dumps(
        {key: header[key] for key in ('preprocessing', 'spec')}, sort_keys=True,
        separators=(',', ':'))
    digest = hashlib.sha256(text.encode())
    for values in tensors.values():
        digest.update(values.tobytes())
    assert digest.hexdigest()[:16] == header['descriptor_id']
