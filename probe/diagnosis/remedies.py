"""Remedies for each diagnosis, the most effective first. Pure."""

from __future__ import annotations

from probe.training.records import CurveEvidence, DiagnosisKind

_REMEDIES: dict[DiagnosisKind, tuple[str, ...]] = {
    "too_few_epochs": ("Train longer: a diagnosis needs at least six epochs.",),
    "unstable": (
        "Use a smaller learning rate; try a third of it first.",
        'Use learning-rate warm-up and decay: `lr_schedule = "linear"` or `"cosine"`.',
        "Clip gradients: `max_grad_norm = 1.0`.",
        "Use a larger batch, whose gradients are less noisy.",
        "Use more validation data, if only the validation curves fluctuate.",
    ),
    "underfitting": (
        "Use a wider or deeper model (Goodfellow et al. 2016, 11.3).",
        "Use another learning rate, found by `probe lr`; a rate that is too large and one that is too small look alike.",
        "Use less regularization: weight decay, dropout, augmentation (Smith 2018).",
        "Check the data and labels: if a large model cannot fit them either, the inputs may not determine the targets.",
    ),
    "overfitting": (
        "Use more data or augmentation, the most effective remedy (Goodfellow et al. 2016, 11.3).",
        "Use more regularization: weight decay, dropout.",
        "Stop at the best epoch (Prechelt 1998).",
        "Use a smaller model if regularization no longer helps.",
    ),
    "still_improving": (
        "Train longer: increase the maximum number of epochs.",
        "Use a larger learning rate if the curve is smooth, to make more progress in the same epochs (Smith 2018).",
    ),
    "plateau": (
        'Use learning-rate decay: `lr_schedule = "cosine"`, if the learning rate is constant.',
        "Use a larger model: training and validation loss stopped decreasing together.",
        "Improve inputs or labels if neither helps: the remaining loss may be noise of the task.",
        "Train for fewer epochs, which costs less and reaches the same loss.",
    ),
    "healthy": ("No change is needed; more data or a larger model may still improve it a little.",),
}
_OVERCONFIDENT = (
    "Use label smoothing or calibration if probabilities matter: the metric has not worsened, only its predicted probabilities "
    "are overconfident (Guo et al. 2017)."
)
_OVERREGULARIZED = (
    "Use less regularization (weight decay, dropout, augmentation): the training loss is above the validation loss, so "
    "regularization costs more on the training data than it gains on new data."
)
HELD_BACK = 0.05
"""A training loss that exceeds the validation loss by this fraction of the start loss is not explained by the lag of a mean
over an epoch."""


def is_held_back(evidence: CurveEvidence) -> bool:
    """Whether regularization raises the training loss above the validation loss."""
    return evidence.gap is not None and evidence.gap <= -HELD_BACK


def remedies_of(kind: DiagnosisKind, evidence: CurveEvidence | None) -> tuple[str, ...]:
    """Remedies as short sentences of plain text; backquotes mark settings of a recipe."""
    if kind == "overfitting" and evidence is not None and evidence.metric_has_worsened is False:
        return (*_REMEDIES[kind], _OVERCONFIDENT)
    if kind == "plateau" and evidence is not None and is_held_back(evidence):
        return (_OVERREGULARIZED, *_REMEDIES[kind])
    return _REMEDIES[kind]
