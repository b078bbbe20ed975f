"""Layers, modules and initialisers."""

from . import init
from .gan_layers import MinibatchDiscrimination, MinibatchStdDev, Pack, VirtualBatchNorm, WithReference
from .layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
    Tanh,
)
from .module import Module
from .spectral import SpectralNorm, spectral_norm

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool",
    "MinibatchDiscrimination",
    "MinibatchStdDev",
    "Module",
    "Pack",
    "ReLU",
    "Reshape",
    "Sequential",
    "Sigmoid",
    "SpectralNorm",
    "Tanh",
    "VirtualBatchNorm",
    "WithReference",
    "init",
    "spectral_norm",
]
