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

"""Files that cannot be imported: what is said, and that nothing in them ever runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import os
from pathlib import Path
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import io as scipy_io
from tiny_checkpoints import make_foreign
import torch

from vpr_compressed.cli.import_weights import EPILOG
from vpr_compressed.errors import ModelFileError
from vpr_compressed.offline.importers.checkpoint_files import read_pca
from vpr_compressed.offline.importers.families import FAMILIES
from vpr_compressed.offline.importers.families import import_network
from vpr_compressed.offline.importers.parts import Projection


class Crafted:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        """Remember the folder that would give it away."""
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        """Make a folder."""
        return os.mkdir, (str(self._target),)


def refusal(path: Path, family: str | None = None) -> str:
    """Return the error of an import."""
    with pytest.raises(ModelFileError) as error:
        import_network(path, family)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('wrap', ['plain', 'in a new checkpoint', 'in an old checkpoint'])
def test_code_in_a_file_does_not_run(wrap: str, tmp_path: Path) -> None:
    """Neither beside the weights nor instead of them; the remedy is named."""
    path, target = tmp_path / 'file.pth', tmp_path / 'it_ran'
    content = {'state_dict': {'a': torch.ones(2)}, 'more': Crafted(target)}
    if wrap == 'plain':
        path.write_bytes(pickle.dumps(content['more']))
    else:
        torch.save(content, path, _use_new_zipfile_serialization='new' in wrap)
    assert 'torch.save(model.state_dict(), "weights.pth")' in refusal(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Crafted(target)))
    assert target.exists()  # so the test would have noticed


def test_whole_model_in_a_file_is_refused(tmp_path: Path) -> None:
    """``torch.save(model)`` stores classes; the message names the one it needs."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'model.pth')
    assert 'torch.nn.modules.linear.Linear' in refusal(tmp_path / 'model.pth')


def test_old_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.6, weights_only did not keep code from running."""
    make_foreign('nanne').write(tmp_path / 'file.pth')
    monkeypatch.setattr(torch, '__version__', '2.5.1+cpu')
    with pytest.raises(ModelFileError, match=r'install torch 2\.6'):
        import_network(tmp_path / 'file.pth')


@pytest.mark.parametrize('layout', ['nanne', 'nanne, old format, two GPUs', 'mat'])
@pytest.mark.parametrize('share', [0.05, 0.5, 0.99])
def test_truncated_file_is_refused(layout: str, share: float, tmp_path: Path) -> None:
    """Wherever the download broke off."""
    make_foreign(layout).write(tmp_path / 'whole')
    data = (tmp_path / 'whole').read_bytes()
    (tmp_path / 'cut').write_bytes(data[:int(share * len(data))])
    assert 'again' in refusal(tmp_path / 'cut')


@pytest.mark.parametrize(('data', 'message'), [
    (b'', 'is empty'),
    (b'<html>404 Not Found</html>' * 9, 'neither a PyTorch checkpoint nor a MATLAB file'),
    (b'MATLAB 7.3 MAT-file, Platform: GLNXA64' + b' ' * 600, 'version 5 is needed'),
    (b'\x89HDF\r\n\x1a\n' + b' ' * 600, 'version 5 is needed'),
    (b'PK\x03\x04' + b' ' * 600, 'truncated or damaged'),
])
def test_other_file_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    """Told apart by the first bytes; each says what is needed."""
    (tmp_path / 'file').write_bytes(data)
    assert message in refusal(tmp_path / 'file')


def test_unknown_checkpoint_lists_what_it_has_and_what_families_need(tmp_path: Path) -> None:
    """So that one sees which of them was meant, or that it is none."""
    torch.save({'model_state_dict': {'trunk.0.weight': torch.ones(4, 3, 1, 1)}},
               tmp_path / 'file.pth')
    message = refusal(tmp_path / 'file.pth')
    assert 'trunk.0.weight [4, 3, 1, 1]' in message
    for family in FAMILIES.values():
        assert family.name in message
        assert family.needs in message


def test_file_without_tensors_is_refused(tmp_path: Path) -> None:
    """A log, say, or an optimiser."""
    torch.save({'epoch': 3, 'loss': [1.0, 2.0]}, tmp_path / 'file.pth')
    assert 'a dictionary with epoch, loss' in refusal(tmp_path / 'file.pth')


def _changed(change: Callable[[dict[str, Any]], object], layout: str, path: Path) -> Path:
    """Write a checkpoint whose tensors were changed."""
    make_foreign(layout).write(path)
    content = torch.load(path, weights_only=True) if layout == 'deep-vg' else torch.load(
        path, weights_only=False)
    state = content.get('state_dict', content)
    change(state)
    torch.save(OrderedDict(state), path)
    return path


@pytest.mark.parametrize(('layout', 'change', 'message'), [
    ('nanne', lambda s: s.pop('pool.conv.weight'), "no 'pool.conv.weight'"),
    ('patch-netvlad', lambda s: s.pop('WPCA.0.bias'), "no 'WPCA.0.bias'"),
    ('nanne', lambda s: s.pop('encoder.28.weight'), 'VGG16 has them at'),
    ('nanne', lambda s: s.pop('encoder.0.bias'), "no 'encoder.0.bias'"),
    ('nanne', lambda s: s.update({'pool.extra.weight': torch.ones(3)}), 'pool.extra.weight'),
    ('deep-vg', lambda s: s.update({'aggregation.crn.weight': torch.ones(3)}),
     'aggregation.crn.weight'),
    ('nanne', lambda s: s['encoder.5.weight'].fill_(float('nan')), 'no finite'),
    ('nanne', lambda s: s.update({'pool.centroids': torch.ones(8, 10, dtype=torch.int64)}),
     'no finite'),
    ('nanne', lambda s: s.update({'pool.centroids': torch.ones(8, 11)}), '8 clusters'),
    ('nanne', lambda s: s.update({'pool.centroids': torch.ones(9, 10)}), '9 clusters'),
    ('nanne', lambda s: s.update({'encoder.2.weight': torch.ones(4, 5, 3, 3)}),
     'convolution 2 of the trunk'),
    ('openibl', lambda s: s.update({'pca_layer.weight': torch.ones(12, 81, 1, 1)}),
     'for vectors of 81 values, this network makes 80 (8 clusters x 10 channels)'),
    ('deep-vg, resnet18', lambda s: s.update({'backbone.4.0.conv3.weight': torch.ones(4)}),
     'stages of [2, 2, 2, 0] residual blocks with 3 convolutions'),
    ('deep-vg, resnet18', lambda s: s.update({'backbone.4.2.conv1.weight': torch.ones(4)}),
     'stages of [3, 2, 2, 0] residual blocks'),
    ('deep-vg, resnet18', lambda s: s.update({'backbone.4.0.conv1.weight': torch.ones(4)}),
     'backbone.4.0.conv1 has weights of shape (4,)'),
    ('deep-vg, resnet18', lambda s: s.update({'backbone.4.0.bn1.running_var': torch.ones(63)}),
     'a batch norm of shapes [(63,), (64,)]'),
    ('openibl', lambda s: s.update({'net_vlad.conv.weight': torch.tensor(1.0)}), 'no finite'),
])
def test_checkpoint_that_does_not_fit_is_refused(
    layout: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    """Missing, foreign, not finite, of another size: by name."""
    path = _changed(change, layout, tmp_path / 'file.pth')
    with pytest.raises(ModelFileError) as error:
        import_network(path)
    assert message in str(error.value)


def test_layers_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    """Found when the network is put together."""
    path = _changed(
        lambda state: state.update({'backbone.4.0.conv1.weight': torch.ones(64, 9, 3, 3)}),
        'deep-vg, resnet18', tmp_path / 'file.pth')
    _, network = import_network(path)
    with pytest.raises(ModelFileError, match=r'layer1\.0\.conv1\.weight has shape \(64, 9'):
        network.model(Projection(
            weight=np.ones((3, network.vlad_size), np.float32), bias=np.zeros(3, np.float32),
            ordered=True, origin='PCA'))


def _official(path: Path) -> Any:
    """Write an official network and return what is in the file, to be changed."""
    make_foreign('mat').write(path)
    return scipy_io.loadmat(path, struct_as_record=False, squeeze_me=True)['net']


def _save_mat(path: Path, layers: list[Any], meta: Any) -> None:
    """Write a changed network."""
    cell = np.empty(len(layers), object)
    cell[:] = layers
    scipy_io.savemat(path, {'net': {'layers': cell, 'meta': meta}}, appendmat=False)


def test_class_objects_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """MATLAB class objects come out of the reader as nothing."""
    path = tmp_path / 'official.mat'
    net = _official(path)
    layers = [np.zeros(0) if getattr(layer, 'type', '') == 'custom' else layer
              for layer in net.layers]
    _save_mat(path, layers, net.meta)
    message = refusal(path)
    assert 'Pitts30K_struct.mat' in message
    assert 'net_class2struct.m' in message


@pytest.mark.parametrize(('keep', 'message'), [
    (lambda name: name != 'preL2', 'only networks with preL2'),
    (lambda name: name != 'vlad:intranorm', 'only networks with preL2'),
    (lambda name: name != 'conv28', 'a trunk of 12 convolutions'),
])
def test_official_networks_of_another_make_are_refused(
    keep: Callable[[str], bool], message: str, tmp_path: Path
) -> None:
    """Without one of the normalisations it would be another descriptor."""
    path = tmp_path / 'official.mat'
    net = _official(path)
    _save_mat(path, [layer for layer in net.layers if keep(layer.name)], net.meta)
    assert message in refusal(path)


def test_trunk_with_response_normalisation_is_refused(tmp_path: Path) -> None:
    """The official AlexNet has it; our layers do not."""
    path = tmp_path / 'official.mat'
    net = _official(path)
    layers = list(net.layers)
    layers.insert(2, {'type': 'normalize', 'name': 'norm1', 'param': [5.0, 1.0, 1e-4, 0.75]})
    _save_mat(path, layers, net.meta)
    assert 'layers of type normalize' in refusal(path)


def test_mat_without_network_or_means_is_refused(tmp_path: Path) -> None:
    """A ground truth, for example."""
    path = tmp_path / 'other.mat'
    scipy_io.savemat(path, {'dbStruct': np.ones(3)}, appendmat=False)
    assert 'no MatConvNet network' in refusal(path)
    net = _official(path)
    _save_mat(path, list(net.layers), {'netID': 'vd16'})
    assert 'averageImage' in refusal(path)
    core = next(layer for layer in net.layers if layer.name == 'vlad:core')
    core.weights = np.array(['?', '?'], object)
    _save_mat(path, list(net.layers), net.meta)
    assert 'another layout' in refusal(path)


def test_official_network_without_whitening_has_no_projection(tmp_path: Path) -> None:
    """The authors publish these, too; a PCA for them is in their flatten order."""
    path = tmp_path / 'official.mat'
    net = _official(path)
    _save_mat(path, [layer for layer in net.layers if layer.name != 'WPCA'], net.meta)
    _, network = import_network(path)
    assert network.projection is None
    assert network.vlad_size == 80


PCA = {'components': np.eye(3, 7), 'mean': np.ones(7)}


def test_pickled_pca_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Swarm-SLAM ships its PCA as a pickle."""
    path, target = tmp_path / 'pca.pkl', tmp_path / 'it_ran'
    path.write_bytes(pickle.dumps(Crafted(target)))
    with pytest.raises(ModelFileError, match=r'unpickling runs code.*numpy\.savez'):
        read_pca(path)
    assert not target.exists()


def test_pickle_inside_an_npz_is_refused(tmp_path: Path) -> None:
    """Objects in an array are pickles, too."""
    target = tmp_path / 'it_ran'
    np.savez(tmp_path / 'pca.npz', **{**PCA, 'pca': np.array([Crafted(target)], object)})
    with pytest.raises(ModelFileError, match='pickled objects, which are not loaded'):
        read_pca(tmp_path / 'pca.npz')
    assert not target.exists()


@pytest.mark.parametrize(('change', 'message'), [
    ({'mean': None}, "no 'mean'"),
    ({'components': None}, "no 'components'"),
    ({'mean': np.ones(8)}, r'shape \(3, 7\) and a mean of 8 values'),
    ({'whiten': True}, 'has 0 values of explained_variance for 3'),
    ({'whiten': True, 'explained_variance': np.ones(4)}, 'has 4 values of explained_variance'),
    ({'mean': np.full(7, np.nan)}, 'not finite'),
])
def test_incomplete_pca_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """What is missing, and how it is saved."""
    arrays = {name: value for name, value in {**PCA, **change}.items() if value is not None}
    np.savez(tmp_path / 'pca.npz', **arrays)
    with pytest.raises(ModelFileError, match=message):
        read_pca(tmp_path / 'pca.npz')


def test_pca_of_texts_or_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    """Neither reaches the arithmetic."""
    path = tmp_path / 'pca.npz'
    np.savez(path, **{**PCA, 'mean': np.array(['a', 'b'])})
    with pytest.raises(ModelFileError, match='mean holds no numbers'):
        read_pca(path)
    np.savez_compressed(path, components=np.zeros((40, 50)), mean=np.arange(50.0))
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r'pca\.npz'):
        read_pca(path)


@pytest.mark.parametrize('data', [b'', b'PK\x03\x04 and no more'])
def test_damaged_pca_is_refused(data: bytes, tmp_path: Path) -> None:
    """As it is when a copy broke off."""
    (tmp_path / 'pca.npz').write_bytes(data)
    with pytest.raises(ModelFileError, match=r'pca\.npz'):
        read_pca(tmp_path / 'pca.npz')
    with pytest.raises(ModelFileError, match='cannot read the PCA'):
        read_pca(tmp_path / 'nowhere.npz')


def test_pca_of_another_network_names_both_sizes(tmp_path: Path) -> None:
    """A PCA fits one number of clusters and channels."""
    make_foreign('nanne').write(tmp_path / 'file.pth')
    _, network = import_network(tmp_path / 'file.pth')
    other = Projection(weight=np.ones((3, 640), np.float32), bias=np.zeros(3, np.float32),
                       ordered=True, origin='PCA pca.npz')
    with pytest.raises(ModelFileError, match='vectors of 640 values, this network makes 80'):
        network.model(other)


def test_help_says_where_every_family_is_found() -> None:
    """The text is written by hand; a new family must not be forgotten."""
    for family in FAMILIES.values():
        assert f'\n  {family.name} ' in EPILOG
        for word in family.title.replace(',', ' ').replace('(', ' ').replace(')', ' ').split():
            if '/' in word:
                assert word in EPILOG
