"""The distance between a policy and its reference: estimators, penalties, the coefficient.

Pure functions of log probabilities [B, T] of sampled tokens, and a controller. With rho =
p_reference / p_policy of a token that the policy has sampled, all estimators have the mean
KL(policy || reference) or, for k2, about it (Schulman 2020, "Approximating KL divergence").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3"]
_MAX_ERROR = 0.2  # share of the coefficient by which one update over the horizon may change it


def kl_estimate(
    logprobs: torch.Tensor, reference_logprobs: torch.Tensor, estimator: KLEstimator = "k1"
) -> torch.Tensor:
    """An estimate of the divergence for each token, [B, T].

    k1 = -log rho is unbiased and may be negative; k2 = 1/2 log^2 rho is biased and never negative;
    k3 = rho - 1 - log rho is both unbiased and never negative, but its variance is large where the
    reference finds likely what the policy does not. They are for reports and for penalties in
    rewards. As losses they have other gradients than the divergence: use `kl_loss`.
    """
    log_ratio = logprobs - reference_logprobs
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return torch.expm1(-log_ratio) + log_ratio


def kl_loss(
    logprobs: torch.Tensor, reference_logprobs: torch.Tensor, old_logprobs: torch.Tensor
) -> torch.Tensor:
    """A loss for each token whose mean and whose gradient's mean are those of the divergence.

    It is k3 times the ratio of the probabilities now and when the token was sampled. The gradient
    of k1 alone has the mean 0, and that of k3 alone is the gradient of KL(reference || policy).

    Args:
        old_logprobs: log probabilities when the tokens were sampled, without gradients.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return ratio * kl_estimate(logprobs, reference_logprobs, "k3")


def sequence_kl(
    logprobs: torch.Tensor, reference_logprobs: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The estimate k1 summed over each answer's tokens, [B]; its mean is the policy's divergence.

    Single answers may be negative. A mean that stays below 0 says that the tokens were not sampled
    from the policy that scored them.
    """
    return torch.where(mask, logprobs - reference_logprobs, 0).sum(1)


def best_of_n_kl(n: int) -> float:
    """Upper bound of the divergence of the best of n samples, log n - (n - 1) / n.

    It is reached if no two samples are ever the same (Beirami et al. 2024, theorem 1).
    """
    return math.log(n) - (n - 1) / n


@dataclass(slots=True)
class KLController:
    """The coefficient of the penalty: fixed, or steered to a target (Ziegler et al. 2019, 2.2).

    Attributes:
        beta: the coefficient.
        target: divergence per answer to steer to; None to keep the coefficient.
        horizon: number of answers over which an error takes effect.
    """

    beta: float
    target: float | None = None
    horizon: int = 10_000

    def update(self, kl: float, answers: int) -> None:
        """Adapt the coefficient after so many answers with a mean divergence of `kl`."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -_MAX_ERROR), _MAX_ERROR)
            self.beta *= 1 + error * answers / self.horizon
