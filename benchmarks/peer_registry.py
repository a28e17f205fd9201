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


"""The methods of :mod:`benchmarks.peers` by name, the simplest first, ours last."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import peer_features as features
from benchmarks import peer_methods as methods
from benchmarks.peer_methods import Method

_UNLABELLED = 'unlabelled images'
_IMAGENET = 'ImageNet weights'
_TRUNK_SIZE = f'{methods.TRUNK_INPUT.width}x{methods.TRUNK_INPUT.height}'
_LONG = f'the longer side {features.LONGER_SIDE} pixels'


def _vlad(key: str, name: str, kind: str, what: str, training: str) -> Method:
    """Return VLAD over local features of a kind."""
    return Method(
        key=key, name=name, training=training,
        summary=f'{methods.CLUSTERS} k-means centres of {what}; signed square root, each cluster '
                'and then the whole to unit norm',
        files=partial(methods.weight_file, kind) if kind in methods.WEIGHTS else _no_files,
        fit=partial(methods.fit_centers, kind), load=partial(methods.load_vlad, kind))


def _gem(key: str, name: str, trunk: str, what: str) -> Method:
    """Return GeM over an ImageNet trunk."""
    return Method(
        key=key, name=name, training=_IMAGENET,
        summary=f'generalised mean (p = 3) of {what}, input {_TRUNK_SIZE}, PyTorch',
        files=partial(methods.weight_file, trunk), load=partial(methods.load_gem, trunk))


def _projected(base: Method) -> Method:
    """Return a method with its descriptors reduced."""
    training = base.training if _UNLABELLED in base.training else (
        f'{base.training}, {_UNLABELLED}')
    return Method(
        key=f'{base.key}_pca', name=f'{base.name}, PCA', training=training, base=base.key,
        summary=f'the same reduced to {methods.PROJECTED}-D by PCA with half whitening',
        files=base.files, load=partial(methods.load_projected, base))


def _own(key: str, name: str) -> Method:
    """Return a packaged model in our map."""
    return Method(
        key=key, name=name, kind=methods.MAP, training='ImageNet weights, labelled images',
        summary=f'the packaged model `{key}` in a map of this package (int8), input {_TRUNK_SIZE}',
        files=partial(methods.model_file, key), load=partial(methods.load_model, key))


def _no_files(_materials: methods.Materials) -> list[Path]:
    """Return no file."""
    return []


def _registry() -> dict[str, Method]:
    """Return all methods by key."""
    sift = _vlad(
        'sift_vlad', 'VLAD on SIFT', 'sift',
        f"RootSIFT at OpenCV's own settings, {_LONG}", _UNLABELLED)
    squeezenet = _gem(
        'gem_squeezenet', 'GeM SqueezeNet', 'squeezenet1_1', 'SqueezeNet 1.1 (512 channels)')
    mobilenet = _gem(
        'gem_mobilenet', 'GeM MobileNetV2', 'mobilenet_v2',
        'MobileNetV2 up to where our models end (576 channels)')
    deep_vlad = _vlad(
        'mobilenet_vlad', 'VLAD on MobileNetV2', 'mobilenet_v2',
        f'the same feature map, input {_TRUNK_SIZE}, PyTorch', f'{_IMAGENET}, {_UNLABELLED}')
    return {method.key: method for method in (
        Method(
            key='tiny', name='tiny images', training='none', value_bytes=1,
            summary=f'grey thumbnails of {features.TINY_WIDTH}x{features.TINY_HEIGHT} pixels, '
                    'compared by correlation: the floor',
            load=partial(methods.load_thumbnail, features.tiny_thumbnail)),
        Method(
            key='hog', name='HOG thumbnails', training='none',
            summary=f"scikit-image's HOG of a grey thumbnail of {features.HOG_SIDE}x"
                    f'{features.HOG_SIDE} pixels: cells of {features.HOG_CELL}, blocks of 2x2, '
                    f'{features.HOG_DIRECTIONS} directions',
            load=partial(methods.load_thumbnail, features.hog_thumbnail)),
        Method(
            key='orb_bow', name='ORB bag of words', kind=methods.WORDS, training=_UNLABELLED,
            summary=f'as DBoW2: {features.ORB_POINTS} ORB points ({_LONG}), vocabulary tree with '
                    f'{methods.BRANCHING} children and {methods.DEPTH} levels, tf-idf, L1 score '
                    'through an inverted file; the tree is NumPy, DBoW2 itself is faster',
            fit=methods.fit_words, load=methods.load_words),
        _vlad('orb_vlad', 'VLAD on ORB', 'orb',
              f'{features.ORB_POINTS} ORB points (bits as +1 and -1), {_LONG}', _UNLABELLED),
        sift, _projected(sift),
        squeezenet, mobilenet, _projected(mobilenet),
        deep_vlad, _projected(deep_vlad),
        Method(
            key='netvlad_float', name='NetVLAD float',
            training='ImageNet weights, labelled images',
            summary=f'the float parent of our models on PyTorch, input {_TRUNK_SIZE}',
            files=partial(methods.model_file, ''), load=partial(methods.load_model, '')),
        _own('default', 'ours: default'), _own('small', 'ours: small'))}


METHODS = _registry()
