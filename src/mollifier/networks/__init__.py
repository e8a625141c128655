"""Coordinates to values: networks, (n, d) -> (n, c). Any other ``nn.Module`` like it will do."""

from mollifier.networks.catalogue import KINDS, count, make
from mollifier.networks.gated import ModifiedMLP, PirateNet
from mollifier.networks.layers import ACTIVATIONS, Affine, FactorisedLinear, FourierFeatures, Sine, Wavelet
from mollifier.networks.mlp import MLP, FourierMLP
from mollifier.networks.periodic import PeriodicInputs
from mollifier.networks.pinnsformer import PINNsFormer
from mollifier.networks.random_features import RandomFeatures
from mollifier.networks.separable import Separable
from mollifier.networks.siren import SIREN

__all__ = [
    "ACTIVATIONS",
    "KINDS",
    "MLP",
    "SIREN",
    "Affine",
    "FactorisedLinear",
    "FourierFeatures",
    "FourierMLP",
    "ModifiedMLP",
    "PINNsFormer",
    "PeriodicInputs",
    "PirateNet",
    "RandomFeatures",
    "Separable",
    "Sine",
    "Wavelet",
    "count",
    "make",
]
