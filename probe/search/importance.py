"""Which hyperparameters set the best trials apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna

from probe.search.ladder import Mode
from probe.search.optuna_study import create_study, distribution
from probe.search.records import Dimension
from probe.search.space import Positions, axis_of

MIN_TRIALS = 8
"""With fewer there is nothing to tell."""


def importance(
    dimensions: Sequence[Dimension],
    scored: Sequence[tuple[Positions, float]],
    *,
    mode: Mode,
) -> dict[str, float]:
    """Share of each hyperparameter in what sets the best trials apart, by PED-ANOVA, largest first; they sum to 1.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) compares where the top trials lie with where all lie.
    `scored` holds positions and scores of equally long trained trials. Empty with fewer than MIN_TRIALS of them,
    or where they do not differ.
    """
    if len(scored) < MIN_TRIALS or len({value for _, value in scored}) < 2:
        return {}
    axes = {axis.name: (axis, dimension.name) for dimension in dimensions for axis in (axis_of(dimension),)}
    study = create_study(mode)
    for positions, value in scored:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(positions),
                distributions={name: distribution(axes[name][0]) for name in positions},
                value=value,
            )
        )
    # At least five trials in the top group, as the evaluator's documentation asks for.
    top = min(0.5, max(0.1, 5 / len(scored)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # equal groups: the shares come out as zeros and are dropped below
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(shares.values())
    if not total > 0:
        return {}
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return {axes[name][1]: share / total for name, share in ranked}
