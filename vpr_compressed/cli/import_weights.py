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

"""Verb ``import-weights``: published NetVLAD weights become a model file."""

from __future__ import annotations

from argparse import ArgumentParser
from argparse import Namespace
from pathlib import Path

from vpr_compressed.offline.training.torch_setup import load_torch
from vpr_compressed.system import terminal

EPILOG = """\
families (found out from what is in the file) and where their files are:
  mat            Relja/netvlad, official weights as Python can read them: Pitts30K_struct.mat and
                 TokyoTM_struct.mat, links in hloc/extractors/netvlad.py of
                 cvg/Hierarchical-Localization. The .mat of the authors' page holds MATLAB class
                 objects; matlab/net_class2struct.m of uzh-rpg/netvlad_tf_open converts it
  patch-netvlad  QVPR/Patch-NetVLAD: mapillary_WPCA4096.pth.tar and others,
                 TobiasRobotics/Patch-NetVLAD on Hugging Face
  openibl        yxgeee/OpenIBL (SFRS): vgg16_netvlad.pth, releases of its repository
  hloc           state dict of the NetVLAD of hloc or of gmberton/VPR-methods-evaluation
  nanne          Nanne/pytorch-NetVlad: model_best.pth.tar; Swarm-SLAM (lajoiepy/cslam) uses it,
                 too, on images of 224x224. No whitening: --pca or --fit-pca
  deep-vg        gmberton/deep-visual-geo-localization-benchmark: VGG16 or ResNet18, 34, 50, 101
                 with NetVLAD. No whitening: --pca or --fit-pca

examples:
  # official weights, the first 512 of their 4096 whitened dimensions (exact, the authors do it)
  vpr_compressed import-weights Pitts30K_struct.mat --dimension 512 --out pitts30k.vpr

  # a family without whitening: a PCA is learned from at least 300 images, better some thousand
  vpr_compressed import-weights checkpoint.pth.tar --fit-pca images/ --dimension 512 --out n.vpr

  # Swarm-SLAM's PCA is a pickle, which is never loaded; convert it where you trust it:
  #   numpy.savez("pca.npz", components=pca.components_, mean=pca.mean_,
  #               explained_variance=pca.explained_variance_, whiten=pca.whiten)
  vpr_compressed import-weights netvlad.pth.tar --pca pca.npz --width 224 --height 224 --out s.vpr

  # then as any other model
  vpr_compressed compress --model pitts30k.vpr --recipe config/recipes/site.yaml \\
      --images site.mcap --out out/site
  vpr_compressed evaluate --model pitts30k.vpr --reference walk1/ --query walk2/ \\
      --tolerance-frames 2 --out out/e

Images are stretched to --width x --height; the original code of some families crops instead.
No checkpoint says when a place is sure: the file gets the cautious default, which "calibrate"
fits to your site."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.epilog = EPILOG
    parser.add_argument('checkpoint', type=Path, help='file of one of the families below')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.vpr', help='model file to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the model file if it exists')
    parser.add_argument(
        '--family', help='family of the checkpoint, if it should not be found out')
    parser.add_argument(
        '--dimension', type=int, metavar='D',
        help='size of the descriptor: the first D dimensions of a whitening or PCA (default: all '
             'of them; 512 with --fit-pca)')
    projection = parser.add_mutually_exclusive_group()
    projection.add_argument(
        '--pca', type=Path, metavar='FILE.npz',
        help='PCA for a network without whitening: components, mean, and with whiten true '
             'explained_variance')
    projection.add_argument(
        '--fit-pca', type=Path, metavar='IMAGES',
        help='learn a PCA with half whitening from a folder of images, each as it is and once in '
             'another light, as "train" does; at most 3000 of them. A VGG16 takes seconds for '
             'each of 640x480 on two cores')
    parser.add_argument(
        '--width', type=int, default=640, metavar='PIXELS', help='width of the network input')
    parser.add_argument(
        '--height', type=int, default=480, metavar='PIXELS',
        help='height of the network input; half of both is four times faster, and less exact')
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='CPU threads, 0 for all cores')


def run(args: Namespace) -> None:
    """Import, describe the reference images and write."""
    load_torch(args.threads)
    from vpr_compressed.model_file.model import write_model
    from vpr_compressed.offline.importers.session import import_weights
    from vpr_compressed.offline.importers.session import ImportJob

    job = ImportJob(
        checkpoint=args.checkpoint, out=args.out, overwrite=args.overwrite, family=args.family,
        dimension=args.dimension, pca=args.pca, fit_pca=args.fit_pca, width=args.width,
        height=args.height)
    model = import_weights(job)
    write_model(args.out, model, overwrite=args.overwrite)
    facts = model.provenance
    size = terminal.human_bytes(args.out.stat().st_size)
    print(f'{args.out}: {size}, family {facts["family"]}, {model.spec.trunk}, '
          f'{model.spec.clusters} clusters, {model.spec.dimension}-D from '
          f'{facts["projection"]}')
    print(f'decisions: {model.calibration.origin}')
