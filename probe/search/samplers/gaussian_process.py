"""Gaussian process regression of scores on configurations and rungs. Pure.

It follows Rasmussen & Williams 2006, Gaussian Processes for Machine Learning (algorithm 2.1 and equation 5.9). The model of a
score is

    score(x, rung) = trend(rung) + f(x, rung) + noise

The trend, which all configurations share, is a random walk over the rungs. f has the covariance of a Matern 5/2 kernel with a
length scale for each dimension, times exp(-|difference of the rungs| / rung scale): the data determine how much the score of a
short training says about that of a long one (the intrinsic coregionalization model, Swersky, Snoek & Adams 2013, Multi-Task
Bayesian Optimization). The kernel's parameters maximize the marginal likelihood times a prior (MAP).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from probe.search.samplers.encoding import Numbers

LENGTH_SCALE = 0.3
"""Prior median of a length scale with one dimension, in units of its range. It grows with the square root of the number of
dimensions, as distances do (Hvarfner et al. 2024, https://arxiv.org/abs/2402.02229)."""
LENGTH_SCALE_SPREAD = 1.0
"""Standard deviation of the logarithm under the prior, as for the other spreads."""
SIGNAL, SIGNAL_SPREAD = 1.0, 0.8
"""Prior median of the variance of f."""
NOISE, NOISE_SPREAD = 0.02, 1.5
"""Prior median of the variance of the noise, from seeds and the val split."""
RUNG_SCALE, RUNG_SCALE_SPREAD = 3.0, 0.8
"""Prior median of the number of rungs over which the correlation falls by a factor of e."""
TREND, TREND_STEP = 1.0, 0.3
"""Variances of the trend at the first rung, and of its step to each next rung."""
MAX_ITERATIONS = 30
JITTER = 1e-8
"""Added to the variances, to keep the matrix positive definite after rounding."""
FENCE = 3.0
"""Interquartile ranges from the first quartile to Tukey's outer fence (Tukey 1977, Exploratory Data Analysis)."""
SQRT5 = math.sqrt(5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Observations that a process is conditioned on."""

    features: Numbers
    """(rows, features)"""
    rungs: NDArray[np.intp]
    """(rows,)"""
    values: Numbers
    """(rows,), standardized scores; larger is better."""

    def __len__(self) -> int:
        return len(self.values)

    def with_rows(self, features: Numbers, rung: int, values: Numbers) -> Observations:
        """These observations and others at one rung."""
        return Observations(
            features=np.concatenate([self.features, features]),
            rungs=np.concatenate([self.rungs, np.full(len(values), rung)]),
            values=np.concatenate([self.values, values]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelParameters:
    """Parameters of the kernel and the noise."""

    length_scales: Numbers
    """(dimensions,)"""
    signal: float
    noise: float
    rung_scale: float


class GaussianProcess:
    """A process with known parameters, conditioned on observations. `groups` are those of the Encoder."""

    def __init__(self, parameters: KernelParameters, observed: Observations, groups: NDArray[np.intp]) -> None:
        self.parameters = parameters
        self._observed = observed
        self._scales = parameters.length_scales[groups]
        self._points = observed.features / self._scales
        rungs = observed.rungs
        covariance = self._matern(self._points) * self._across(rungs[:, None] - rungs) + _trend(rungs[:, None], rungs)
        covariance.flat[:: len(observed) + 1] += parameters.noise + JITTER
        # Algorithm 2.1, lines 2 and 3: the Cholesky factor of K + noise I, and the weights K^-1 y.
        self._factor, failed = dpotrf(covariance, lower=1, clean=1)
        if failed:
            raise ArithmeticError("the covariance matrix of a Gaussian process is not positive definite")
        self._weights = cho_solve((self._factor, True), observed.values, check_finite=False)

    def predict(self, features: Numbers, rung: int) -> tuple[Numbers, Numbers]:
        """Means and standard deviations of the noise-free score at the end of `rung`, each (configurations,);
        `features` has shape (configurations, features)."""
        rungs = self._observed.rungs
        cross = self._matern(features / self._scales) * self._across(rung - rungs) + _trend(np.array(rung), rungs)
        # Algorithm 2.1, lines 4 to 6: the predictive mean and variance.
        explained = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.parameters.signal + _trend(np.array(rung), np.array(rung)) - np.square(explained).sum(axis=0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, JITTER))

    def _matern(self, points: Numbers) -> Numbers:
        # Matern 5/2 (equation 4.17), from squared distances |a|^2 + |b|^2 - 2ab.
        squares = np.square(points).sum(axis=1)[:, None] + np.square(self._points).sum(axis=1)
        squares -= 2 * points @ self._points.T
        np.maximum(squares, 0.0, out=squares)
        distances = SQRT5 * np.sqrt(squares)
        covariance: Numbers = self.parameters.signal * (1 + distances + 5 / 3 * squares) * np.exp(-distances)
        return covariance

    def _across(self, apart: Numbers) -> Numbers:
        correlation: Numbers = np.exp(-np.abs(apart) / self.parameters.rung_scale)
        return correlation


def fit_parameters(observed: Observations, groups: NDArray[np.intp]) -> KernelParameters:
    """The parameters with the largest posterior density, by L-BFGS from the prior's median."""
    objective = _NegativeLogPosterior(observed, groups)
    bounds = [
        (mean - 4 * spread, mean + 4 * spread) for mean, spread in zip(objective.means, objective.spreads, strict=True)
    ]
    found = minimize(
        objective, objective.means, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_ITERATIONS}
    )
    *length_scales, signal, noise, rung_scale = np.exp(found.x)
    return KernelParameters(
        length_scales=np.array(length_scales), signal=float(signal), noise=float(noise), rung_scale=float(rung_scale)
    )


class _NegativeLogPosterior:
    """Negative log posterior density of the logarithms of (length scales, signal, noise, rung scale), up to a constant."""

    def __init__(self, observed: Observations, groups: NDArray[np.intp]) -> None:
        num_dimensions = int(groups[-1]) + 1
        self._scores = observed.values
        differences = np.square(observed.features[:, None, :] - observed.features[None, :, :])
        self._squares = np.stack(
            [differences[:, :, groups == dimension].sum(axis=2).ravel() for dimension in range(num_dimensions)]
        )  # (dimensions, rows * rows)
        rungs = observed.rungs
        self._apart = np.abs(rungs[:, None] - rungs).astype(float)
        self._trend = _trend(rungs[:, None], rungs)
        length_scale = LENGTH_SCALE * math.sqrt(num_dimensions)
        self.means = np.log([*[length_scale] * num_dimensions, SIGNAL, NOISE, RUNG_SCALE])
        self.spreads = np.array(
            [*[LENGTH_SCALE_SPREAD] * num_dimensions, SIGNAL_SPREAD, NOISE_SPREAD, RUNG_SCALE_SPREAD]
        )

    def __call__(self, logs: Numbers) -> tuple[float, Numbers]:
        """The value and its gradient."""
        num_rows = len(self._scores)
        inverse_squares = np.exp(-2 * logs[:-3])
        signal, noise, rung_scale = np.exp(logs[-3:])
        squares = (inverse_squares @ self._squares).reshape(num_rows, num_rows)
        distances = SQRT5 * np.sqrt(squares)
        decayed = signal * np.exp(-distances - self._apart / rung_scale)
        covariance_f = (1 + distances + 5 / 3 * squares) * decayed
        covariance = covariance_f + self._trend
        covariance.flat[:: num_rows + 1] += noise + JITTER
        factor, failed = dpotrf(covariance, lower=1, clean=1)
        standardized = (logs - self.means) / self.spreads
        if failed:
            return math.inf, np.zeros_like(logs)
        weights = cho_solve((factor, True), self._scores, check_finite=False)
        # Equation 2.30, the log marginal likelihood, and the log density of the normal prior.
        value = 0.5 * self._scores @ weights + np.log(np.diag(factor)).sum() + 0.5 * standardized @ standardized
        # Equation 5.9: d/dp = tr((K^-1 - weights weights^T) dK/dp) / 2
        inverse, _ = dpotri(factor, lower=1)
        inverse += np.tril(inverse, -1).T
        outer = inverse - np.outer(weights, weights)
        gradient = standardized / self.spreads
        # d(Matern 5/2)/d(log length scale) = 5/3 (1 + distance) exp(-distance) squares / length_scale^2.
        slope = outer * (1 + distances) * decayed
        gradient[:-3] += 5 / 6 * (self._squares @ slope.ravel()) * inverse_squares
        of_signal = outer * covariance_f
        gradient[-3] += 0.5 * of_signal.sum()
        gradient[-2] += 0.5 * noise * np.trace(outer)
        gradient[-1] += 0.5 * (of_signal * self._apart).sum() / rung_scale
        return float(value), gradient


def _trend(rungs: Numbers, others: Numbers) -> Numbers:
    """Covariance of the trend, a random walk."""
    covariance: Numbers = TREND + TREND_STEP * np.minimum(rungs, others)
    return covariance


def standardized(scores: Numbers) -> Numbers:
    """Scores with mean 0 and variance 1, larger is better; zeros if all are equal.

    If all scores are negative, they are losses to minimize, and their logarithms are taken: halving a loss counts the same at
    0.02 and at 2. A score below the outer fence counts as one on the fence: how badly a configuration fails says nothing about
    where the best ones are, and a single loss of 1e30 would make all others look alike.
    """
    if (scores < 0).all():
        scores = -np.log(-scores)
    # In units of the largest score, so that differences and squares do not overflow.
    scaled = scores / max(float(np.abs(scores).max()), np.finfo(float).tiny)
    first, third = np.quantile(scaled, [0.25, 0.75])
    if third > first:
        scaled = np.maximum(scaled, first - FENCE * (third - first))
    deviation = float(scaled.std())
    if deviation <= 1e-12:
        return np.zeros_like(scores)
    result: Numbers = (scaled - scaled.mean()) / deviation
    return result
