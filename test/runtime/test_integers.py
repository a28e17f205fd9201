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

"""Integer activations: both engines and the network give the same descriptors."""

from __future__ import annotations

from collections import Counter
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_model import make_tiny_model
import torch

from vpr_compressed.images.pixels import normalise
from vpr_compressed.model_file.model import default_model_path
from vpr_compressed.model_file.model import Model
from vpr_compressed.model_file.model import read_model
from vpr_compressed.model_file.spec import INPUT
from vpr_compressed.model_file.spec import NetworkSpec
from vpr_compressed.model_file.spec import PreprocessingSpec
from vpr_compressed.model_file.tensors import ActivationRange
from vpr_compressed.model_file.tensors import CodebookTensor
from vpr_compressed.model_file.tensors import quantize
from vpr_compressed.offline.network.engines import ALL_ENGINES
from vpr_compressed.runtime.onnx_graph import build_graph
from vpr_compressed.runtime.onnxruntime_engine import DISABLED
from vpr_compressed.runtime.onnxruntime_engine import open_session
from vpr_compressed.runtime.parity import describe_reference
from vpr_compressed.runtime.parity import reference_images


def on_grid(model: Model) -> Model:
    """Return a model with all weights but NetVLAD's on an int8 grid."""
    tensors = {name: quantize(model.float_tensor(name)) if name.endswith('.weight')
               and not name.startswith('netvlad') else model.float_tensor(name)
               for name in model.tensors}
    return dataclasses.replace(model, tensors=tensors)


def calibrated(model: Model) -> Model:
    """Return a model whose activation ranges cover what the reference images give."""
    from vpr_compressed.offline.network.network import VprNetwork

    network = VprNetwork(model.spec).eval()
    network.load_tensors({name: model.float_tensor(name) for name in model.tensors})
    ranges = {}

    def remember(name: str, value: torch.Tensor) -> torch.Tensor:
        ranges[name] = ActivationRange.from_extremes(float(value.min()), float(value.max()))
        return value

    network._rounded = remember
    images = normalise(np.stack(reference_images(model.preprocessing)), model.preprocessing)
    with torch.inference_mode():
        network.features(torch.from_numpy(images))
    pools = {layer.name for layer in model.spec.layers if layer.op == 'max_pool'}
    return dataclasses.replace(model, activations={
        name: found for name, found in ranges.items() if name not in pools})


def mobilenet() -> Model:
    """Return MobileNetV2 with random weights, folded, and a small head."""
    pytest.importorskip('torchvision', reason='trunks come from torchvision')
    from vpr_compressed.offline.network.backbones import build_trunk
    from vpr_compressed.offline.network.network import VprNetwork

    torch.manual_seed(3)
    trunk = build_trunk('mobilenet_v2')
    spec = NetworkSpec(
        trunk='mobilenet_v2', layers=tuple(trunk.layers), clusters=8, dimension=32)
    network = VprNetwork(spec)
    network.load_tensors(trunk.tensors)
    return Model(spec=spec, preprocessing=PreprocessingSpec(width=96, height=64),
                 tensors=network.tensors())


def cosines(model: Model) -> np.ndarray:
    """Return the cosines of the two engines' descriptors of the reference images."""
    found = describe_reference(ALL_ENGINES.load(model, threads=1), model.preprocessing)
    wanted = describe_reference(ALL_ENGINES.load(model, 'torch', 1), model.preprocessing)
    return (found * wanted).sum(axis=1)


def operations(model: Model, folder: Path) -> Counter[str]:
    """Return how often each operation stands in the graph that ONNX Runtime really runs."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / 'optimised.onnx')
    onnxruntime.InferenceSession(
        build_graph(model).SerializeToString(), options, providers=['CPUExecutionProvider'],
        disabled_optimizers=DISABLED)
    graph = onnx.load(options.optimized_model_filepath).graph
    return Counter(node.op_type for node in graph.node)


def rounded_values(model: Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the integers that ONNX Runtime passes from layer to layer, by name of the layer."""
    import onnx

    graph = build_graph(model)
    graph.graph.output.extend(
        onnx.helper.make_tensor_value_info(f'{name}.q', onnx.TensorProto.UINT8, None)
        for name in model.activations)
    session = open_session(graph.SerializeToString(), 0)
    names = [f'{name}.q' for name in model.activations]
    return dict(zip(model.activations, session.run(names, {INPUT: images}), strict=True))


def reference_values(model: Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same integers as the reference network computes them."""
    from vpr_compressed.offline.network.torch_engine import IntegerNetwork

    found: dict[str, np.ndarray] = {}

    class Watched(IntegerNetwork):
        def _rounded(self, name: str, value: torch.Tensor) -> torch.Tensor:
            value = super()._rounded(name, value)
            span = self.activations[name]
            found[name] = (value / np.float32(span.scale)).round().numpy() + span.zero_point
            return value

    with torch.inference_mode():
        Watched(model).eval().features(torch.from_numpy(images))
    return found


def differing(model: Model) -> dict[str, int]:
    """Return how many integers of each layer differ between ONNX Runtime and the reference."""
    images = normalise(
        np.stack(reference_images(model.preprocessing, 1)), model.preprocessing)
    engine, reference = rounded_values(model, images), reference_values(model, images)
    return {name: int((values != reference[name]).sum()) for name, values in engine.items()}


def test_integer_activations_equal_the_reference() -> None:
    """Every kind of layer, an activation that is cut off by its range, and a pool in between."""
    model = calibrated(on_grid(make_tiny_model()))
    assert cosines(model).min() >= 0.9999
    assert not any(differing(model).values())


def test_integer_activations_of_mobilenet_equal_the_reference() -> None:
    """Also after 40 convolutions, with depthwise layers, residuals and ReLU6."""
    assert cosines(calibrated(on_grid(mobilenet()))).min() >= 0.9999


def test_integer_activations_of_the_packaged_model_equal_the_reference() -> None:
    """To the last bit; trained weights carry one other rounding through the whole network."""
    model = calibrated(read_model(default_model_path()))
    # Sums with fused multiply-adds are those of AVX2 and NEON; elsewhere a few values may differ.
    assert not any(differing(model).values())
    assert cosines(model).min() >= 0.999


def test_onnxruntime_runs_the_whole_trunk_in_integers(tmp_path: Path) -> None:
    """No convolution, addition or pool is left in float; one rounding in, and two readers."""
    model = calibrated(on_grid(mobilenet()))
    found = operations(model, tmp_path)
    kinds = Counter(layer.op for layer in model.spec.layers)
    assert found['QLinearConv'] == kinds['conv']
    assert found['QLinearAdd'] == kinds['add']
    assert not {'Conv', 'Add', 'Relu', 'Clip'} & set(found)
    assert (found['QuantizeLinear'], found['DequantizeLinear']) == (1, 2)
    tiny = operations(calibrated(on_grid(make_tiny_model())), tmp_path)
    assert (tiny['QLinearConv'], tiny['Conv'], tiny['QLinearAdd']) == (3, 0, 1)
    assert (tiny['QuantizeLinear'], tiny['DequantizeLinear']) == (1, 2)


@pytest.mark.parametrize(('name', 'span'), [
    ('deep', ActivationRange(6.0 / 100, 0)), ('deep', ActivationRange(0.05, 40)),
    ('stem', ActivationRange(0.1, 100)), ('deep', ActivationRange(0.01, 0)),
    ('pool', ActivationRange(0.07, 0))])
def test_an_activation_stays_where_its_range_does_not_stand_for_it(
    name: str, span: ActivationRange
) -> None:
    """Ranges wider or narrower than ReLU and ReLU6, and another one behind a pool."""
    model = calibrated(on_grid(make_tiny_model()))
    model = dataclasses.replace(model, activations={**model.activations, name: span})
    assert cosines(model).min() >= 0.999


@pytest.mark.parametrize('names', [(INPUT,), ('stem', 'pool'), ('deep',), ('point', 'sum')])
def test_some_activations_may_stay_float(names: tuple[str, ...]) -> None:
    """Only the outputs that have a range are rounded, in both engines."""
    model = calibrated(on_grid(make_tiny_model()))
    some = {name: span for name, span in model.activations.items() if name in names}
    assert cosines(dataclasses.replace(model, activations=some)).min() >= 0.9999


@pytest.mark.parametrize('rounded', [False, True])
@pytest.mark.parametrize('kind', ['grid', 'codebook', 'half'])
def test_engines_agree_for_every_kind_of_tensor(kind: str, rounded: bool) -> None:
    """Also biases, cluster centres and assignment, with and without integer activations."""
    model = make_tiny_model().with_precision('fp32')
    tensors = {}
    for name in model.tensors:
        values = model.float_tensor(name)
        codebook = np.linspace(values.min(), values.max(), 32, dtype=np.float32)
        tensors[name] = {
            'grid': quantize(values), 'half': values.astype(np.float16),
            'codebook': CodebookTensor(np.abs(
                values[..., np.newaxis] - codebook).argmin(axis=-1).astype(np.uint8), codebook),
        }[kind]
    model = dataclasses.replace(model, tensors=tensors)
    if rounded:
        model = calibrated(model)
    assert cosines(model).min() >= 0.999


def test_integers_come_near_float() -> None:
    """Eight bits change little: rounding is not merely equally wrong in both engines."""
    model = calibrated(on_grid(make_tiny_model()))
    exact = dataclasses.replace(model, activations={})
    found, wanted = (describe_reference(ALL_ENGINES.load(one, threads=1), one.preprocessing)
                     for one in (model, exact))
    cosine = (found * wanted).sum(axis=1)
    assert 0.99 <= cosine.min() < 1.0 - 1e-7


def test_float_weights_between_integer_activations_stay_float(tmp_path: Path) -> None:
    """ONNX Runtime is kept from rounding a codebook to a grid of its own."""
    model = calibrated(on_grid(make_tiny_model()))
    weights = model.float_tensor('point.weight')
    codebook = CodebookTensor(
        np.arange(weights.size, dtype=np.uint8).reshape(weights.shape), weights.reshape(-1))
    model = dataclasses.replace(model, tensors={**model.tensors, 'point.weight': codebook})
    assert operations(model, tmp_path)['QLinearConv'] == 2
    assert cosines(model).min() >= 0.9999


def test_a_bias_too_large_for_integers_keeps_its_layer_in_float(tmp_path: Path) -> None:
    """A channel of tiny weights with an ordinary bias would overflow int32."""
    model = calibrated(on_grid(make_tiny_model()))
    weights = model.float_tensor('point.weight')
    weights[3] *= 1e-9
    bias = model.float_tensor('point.bias')
    bias[3] = 5.0
    model = dataclasses.replace(model, tensors={
        **model.tensors, 'point.weight': quantize(weights), 'point.bias': bias})
    assert operations(model, tmp_path)['QLinearConv'] == 2
    assert cosines(model).min() >= 0.999
