"""Coordinates to values: networks, (n, d) -> (n, c). Any other ``nn.Module`` like it will do."""

from mollifier.networks.mlp import ACTIVATIONS, MLP, Affine, FourierFeatures, Sine

__all__ = ["ACTIVATIONS", "MLP", "Affine", "FourierFeatures", "Sine"]
