"""Numbers that steer the network engine."""

from __future__ import annotations

from dataclasses import dataclass

from mollifier.engines.collocated.tuning import CollocatedTuning

_TAP = 9  # Work of a weight of the kernel; of one of the network it is one.


@dataclass(frozen=True)
class NetworkTuning(CollocatedTuning):
    """Numbers that steer the network engine; the defaults suit most problems."""

    gauss_newton_steps: int = 300  #: Most Gauss-Newton steps where ``training.steps`` is not given.
    lbfgs_steps: int = 2000  #: Most L-BFGS iterations where ``training.steps`` is not given.
    lbfgs_iterations: int = 10  #: L-BFGS iterations that count as one step of the run.
    lbfgs_history: int = 50  #: Pairs of steps and gradients that L-BFGS keeps.
    adam_share: float = 0.2  #: Learning rate of Adam on the whole loss, as a share of the warm-up's.
    last_rate: float = 0.02  #: Learning rate at the end of Adam's cosine schedule, as a share of the first.
    #: Mean squared misfit, in standard errors, at which the warm-up ends (the discrepancy principle).
    fitted_misfit: float = 1.25
    #: Most nodes of an earlier answer to which networks are fitted; of more, a random sample.
    start_nodes: int = 5000
    linear_damping: float = 1e-6  #: First damping where all states are linear in their weights.
    evidence_updates: int = 4  #: Most times that the priors of unknown fields are updated by their evidence.
    #: Distance of a prior from that of greatest evidence, in log-strength, below which it is kept.
    evidence_distance: float = 0.7
    #: Weights of an unknown field up to which they are its coordinates, without a rotation.
    few_weights: int = 400
    #: Directions of weights are dropped below this share of the largest eigenvalue of the field's slopes.
    direction_rounding: float = 1e-12
    #: Least share of the samples that counts as degrees of freedom of the equation's residuals.
    least_freedom: float = 1e-3
    held_out_samples: int = 100  #: Fewest held-out samples that judge the equation's weight.
    #: Standard errors by which the held-out misfit must increase for a weight to be too high.
    held_out_sds: float = 2.0
    #: Largest part of the loss from the equation that the noise of the data explains.
    most_residual: float = 1.0
    most_parameters: int = 6000  #: Gauss-Newton: most weights in all.
    most_jacobian: int = 60_000_000  #: Gauss-Newton: most entries of network Jacobians in memory.
    #: Most numbers that training holds at a time, of eight bytes each; more is refused.
    most_numbers: int = 400_000_000
    #: Gauss-Newton: entries of a step's rows of samples, about, from which these move to nodes in J'J.
    most_sample_work: int = 50_000_000
    #: Standard deviation of the number of waves along an axis, for each shortest feature that fits in.
    waves: float = 0.6
    least_waves: float = 0.2  #: Its lower limit.
    fewest_features: int = 150  #: Fewest random features of a field.
    enough_features: int = 400  #: Features of a state beyond which the samples no longer raise its fewest.
    #: Samples of a state for each of its features below which an unknown field stays undetermined.
    samples_for_features: float = 2.0
    samples_per_feature: int = 4  #: Samples of a state for each of its fewest features.
    most_unknown_features: int = 300  #: Most random features of an unknown field.
    #: Factor on the last layer of an unknown field's network, which starts near its level.
    unknown_scale: float = 0.1

    def sample_work(self, samples: int, taps: float, weights: float) -> float:
        """Entries of a step's rows of samples, and what their kernels of so many weights each add."""
        return samples * (weights + _TAP * taps)

    def moved(self, samples: int, taps: float, nodes: float, weights: float) -> bool:
        """Whether J'J has samples at the nodes of the grid, where they are less work."""
        most = max(self.most_sample_work, 2 * nodes * weights)
        return self.sample_work(samples, taps, weights) > most
