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

"""Verb export: files other software loads, with the descriptors of the model."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime
import pytest
from tiny_model import make_tiny_model

from vpr_compressed.cli import export
from vpr_compressed.cli.main import main
from vpr_compressed.config import config_from_mapping
from vpr_compressed.images.pixels import preprocess
from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.model import write_model
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.offline.network.engines import load_extractor


def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image that is not of the size of the network."""
    return rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)


def as_stranger(path: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run an ONNX file with nothing but what its metadata say (but for resizing)."""
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    said = session.get_modelmeta().custom_metadata_map
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert taken.name == said['input'].partition(':')[0]
    assert taken.shape == [1, 3, int(said['height']), int(said['width'])]
    small = preprocess(image, replace(
        read_model(default_model_path()).preprocessing, width=int(said['width']),
        height=int(said['height']), mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3))
    mean, std = (np.array(json.loads(said[name])).reshape(1, 3, 1, 1) for name in ('mean', 'std'))
    pixels = ((small / 255 - mean) / std).astype(np.float32)
    found: NDArray[np.float32] = session.run([given.name], {taken.name: pixels})[0][0]
    return found


@pytest.mark.parametrize('form', ['onnx', 'onnx-int8'])
def test_onnx_gives_the_descriptors_of_the_model(
    form: str, tiny_model_path: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """With a plain ONNX Runtime, from the file and its metadata alone."""
    out = tmp_path / 'new' / 'model.onnx'
    assert main(['export', str(tiny_model_path), '--format', form, '--out', str(out)]) == 0
    extractor = load_extractor(tiny_model_path, engine='onnxruntime')
    least = 0.9999 if form == 'onnx-int8' else 0.999  # float sums where the model has integers
    for _ in range(3):
        image = picture(rng)
        assert float(as_stranger(out, image) @ extractor.describe(image)) >= least
    kinds = {node.op_type for node in onnx.load(str(out)).graph.node}
    assert ('MatMulInteger' in kinds) == (form == 'onnx-int8')
    assert [path.name for path in out.parent.iterdir()] == ['model.onnx']


def test_float_models_stay_exact(tmp_path: Path, rng: np.random.Generator) -> None:
    """A float model as a float graph: nothing is rounded anywhere."""
    write_model(tmp_path / 'float.vpr', make_tiny_model().with_precision('fp32'))
    out = tmp_path / 'float.onnx'
    assert main(['export', str(tmp_path / 'float.vpr'), '--format', 'onnx', '--out',
                 str(out)]) == 0
    image = picture(rng)
    wanted = load_extractor(tmp_path / 'float.vpr', engine='onnxruntime').describe(image)
    assert float(as_stranger(out, image) @ wanted) >= 0.999999


def test_packaged_model_exports(tmp_path: Path, rng: np.random.Generator) -> None:
    """The model people have, by its name."""
    out = tmp_path / 'small.onnx'
    assert main(['export', 'small', '--format', 'onnx-int8', '--out', str(out)]) == 0
    image = picture(rng)
    wanted = load_extractor(Path('small'), engine='onnxruntime').describe(image)
    assert float(as_stranger(out, image) @ wanted) >= 0.9999


def test_torch_file_holds_plain_data_and_the_network(
    tiny_model_path: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Loaded with weights_only, the specification alone is enough to rebuild the network."""
    torch = pytest.importorskip('torch', reason='tensors are written with torch (train extra)')
    from vpr_compressed.model_file.spec import NetworkSpec
    from vpr_compressed.model_file.spec import PreprocessingSpec
    from vpr_compressed.offline.network.network import VprNetwork

    out = tmp_path / 'tiny.pth'
    assert main(['export', str(tiny_model_path), '--format', 'torch', '--out', str(out)]) == 0
    content = torch.load(out, weights_only=True)
    network = VprNetwork(config_from_mapping(NetworkSpec, content['spec']))
    network.load_tensors({name: value.numpy() for name, value in content['state_dict'].items()})
    image = picture(rng)
    pixels = preprocess(image, config_from_mapping(PreprocessingSpec, content['preprocessing']))
    with torch.inference_mode():
        found = network(torch.from_numpy(pixels))[0].numpy()
    extractor = load_extractor(tiny_model_path, engine='torch')
    np.testing.assert_allclose(found, extractor.describe(image), atol=1e-6)
    assert content['descriptor_id'] == extractor.descriptor_id


def test_rounded_activations_are_exported_and_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the int8 graph they are rounded as on the robot, in the float one they are not."""
    model = make_tiny_model()
    model = replace(model, activations={
        name: ActivationRange.from_extremes(-4.0, 4.0) for name in ('image', 'stem', 'pool')})
    path = tmp_path / 'rounded.vpr'
    write_model(path, model)
    for form in ('onnx', 'onnx-int8'):
        out = tmp_path / f'{form}.onnx'
        assert main(['export', str(path), '--format', form, '--out', str(out)]) == 0
        said = capsys.readouterr().out
        assert ('rounds its activations' in said) == (form == 'onnx')
        kinds = {node.op_type for node in onnx.load(str(out)).graph.node}
        assert ('QuantizeLinear' in kinds) == (form == 'onnx-int8')


def test_existing_files_stay(tiny_model_path: Path, tmp_path: Path,
                             capsys: pytest.CaptureFixture[str]) -> None:
    """Without being asked nothing is replaced, and the model itself never is."""
    out = tmp_path / 'there.onnx'
    out.write_text('precious', encoding='utf-8')
    command = ['export', str(tiny_model_path), '--format', 'onnx', '--out']
    assert main([*command, str(out)]) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert out.read_text(encoding='utf-8') == 'precious'
    assert main([*command, str(tiny_model_path), '--overwrite']) == 1
    assert read_model(tiny_model_path).spec.trunk == 'tiny'
    assert main([*command, str(out), '--overwrite']) == 0
    onnx.checker.check_model(str(out))


def test_file_that_computes_something_else_is_not_kept(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in writing the graph, here centres of the other sign, leaves no file."""
    from vpr_compressed.offline.network import onnx_export

    right = onnx_export.build_graph

    def wrong(model: Model) -> onnx.ModelProto:
        centers = -model.float_tensor('netvlad.centers')
        return right(replace(model, tensors={**model.tensors, 'netvlad.centers': centers}))

    monkeypatch.setattr(onnx_export, 'build_graph', wrong)
    out = tmp_path / 'wrong.onnx'
    for form in export.FORMATS[:2]:
        assert main(['export', str(tiny_model_path), '--format', form, '--out', str(out)]) == 1
        assert 'something else than the model' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('model', 'out', 'message'), [
    ('nowhere.vpr', 'out.onnx', 'no model file at nowhere.vpr'),
    ('small', 'file/out.onnx', 'cannot write'),
])
def test_mistakes_are_one_clear_line(
    model: str, out: str, message: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing model, a folder that is a file."""
    (in_tmp_path / 'file').write_text('', encoding='utf-8')
    assert main(['export', model, '--format', 'onnx', '--out', out]) == 1
    assert message in capsys.readouterr().err
