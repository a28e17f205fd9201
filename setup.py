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


"""Installation of the package, for pip and for colcon."""

from collections import defaultdict
from pathlib import Path

from setuptools import find_packages
from setuptools import setup

package_name = 'vpr_compressed'

_MESSAGES = ('diagnostic', 'geometry', 'nav', 'sensor', 'std', 'visualization')
_TESTS = ['pytest>=7.0']
_OPENVINO = ['openvino>=2023.3']
# Reads MATLAB files: published weights and the ground truth of some data sets.
_SCIPY = ['scipy>=1.8']
# The pages of the reports, which no node writes.
_OFFLINE = ['Jinja2>=3.0']
# Latitude and longitude to metres, for bags with NavSatFix poses.
_UTM = ['utm>=0.7']


def ros_wheels(distribution, rclpy, lifecycle, interfaces):
    """Return the pinned wheels that make a real rclpy of one ROS 2 distribution."""
    return [
        f'ros-rclpy[fastrtps]=={rclpy}',
        f'ros-{distribution}-lifecycle-msgs=={lifecycle}',
        f'ros-{distribution}-std-srvs=={interfaces}',
        *(f'ros-{distribution}-{name}-msgs=={interfaces}' for name in _MESSAGES),
    ]


def share(*folders):
    """Return ``data_files`` entries that keep the sub-folders below each folder."""
    targets = defaultdict(list)
    for folder in folders:
        for path in sorted(Path(folder).rglob('*')):
            if path.name.endswith(('.launch.py', '.yaml', '.xml', '.rviz')):
                targets[f'share/{package_name}/{path.parent.as_posix()}'].append(path.as_posix())
    return list(targets.items())


setup(
    name=package_name,
    version='0.4.0',
    packages=find_packages(exclude=['test', 'test.*', 'tools', 'tools.*']),
    package_data={package_name: [
        'py.typed', 'models/*.vpr',
        'offline/demo/frames/*/*',
        'offline/reports/templates/*.j2',
    ]},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        *share('config', 'launch', 'rviz'),
    ],
    python_requires='>=3.10',
    install_requires=[
        'numpy>=1.21',
        'opencv-python-headless>=4.5.4',
        'faiss-cpu>=1.7.3',
        'onnxruntime>=1.15',
        'onnx>=1.14',
        'PyYAML>=5.4',
        'rosbags>=0.10',
        'matplotlib>=3.5',
        'tqdm>=4.57',
        'psutil>=5.9',
    ],
    extras_require={
        'ros-kilted': ros_wheels('kilted', '9.1.2', '2.3.0', '5.5.1'),
        'ros-jazzy': ros_wheels('jazzy', '7.1.6', '2.0.3', '5.3.6'),
        'offline': _OFFLINE,
        'openvino': _OPENVINO,
        'scipy': _SCIPY,
        'utm': _UTM,
        'train': [
            *_OFFLINE, *_SCIPY, 'torch>=2.0', 'torchvision>=0.15', 'safetensors>=0.4'],
        'test': _TESTS,
        'dev': [
            *_OFFLINE,
            *_OPENVINO,
            *_TESTS,
            *_UTM,
            'flake8',
            'flake8-builtins',
            'flake8-comprehensions',
            'flake8-docstrings',
            'flake8-import-order',
            'flake8-quotes',
            'mypy>=1.8',
            'pydocstyle',
            'ruff>=0.6',
            # HOG, for benchmarks/peers.py.
            'scikit-image>=0.19',
            'scikit-learn',
            'types-PyYAML',
        ],
    },
    zip_safe=False,
    author='The vpr_compressed authors',
    maintainer='The vpr_compressed authors',
    maintainer_email='vpr-compressed@users.noreply.github.com',
    url='https://github.com/vpr-compressed/vpr_compressed',
    description='Visual place recognition for small robots: compressed NetVLAD, FAISS, ROS 2.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'vpr_compressed = vpr_compressed.cli.main:main',
            'compress = vpr_compressed.ros.compress.node:main',
            'place_recognition = vpr_compressed.ros.place_recognition.node:main',
            'player = vpr_compressed.ros.player.node:main',
            'relocalizer = vpr_compressed.ros.relocalizer_node:main',
        ],
    },
)
