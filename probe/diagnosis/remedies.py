"""What the field does about each kind of trouble, what helps most often first. Pure."""

from __future__ import annotations

from probe.training.records import CurveEvidence, DiagnosisKind

_REMEDIES: dict[DiagnosisKind, tuple[str, ...]] = {
    "too_few_epochs": ("Train longer: the curves are judged from six epochs on.",),
    "unstable": (
        "Lower the learning rate, by a factor of three first.",
        'Let the learning rate warm up and decay: `lr_schedule = "linear"` or `"cosine"`.',
        "Clip the gradients: `max_grad_norm = 1.0`.",
        "A larger batch, whose gradients are less noisy.",
        "More validation data, if only the validation curves swing.",
    ),
    "underfitting": (
        "More capacity: a wider or deeper model (Goodfellow et al. 2016, 11.3).",
        "Another learning rate: `probe lr` finds one; too large or too small a one looks the same.",
        "Less regularisation: weight decay, dropout, augmentation (Smith 2018).",
        "Look at the data and its labels: if a large model cannot fit them either, they may not hold the answer.",
    ),
    "overfitting": (
        "More data, or augmentation of what there is: what helps most where it can be had (Goodfellow et al. 2016, 11.3).",
        "More regularisation: weight decay, dropout.",
        "Stop at the best epoch (Prechelt 1998).",
        "Less capacity, once regularisation no longer helps.",
    ),
    "still_improving": (
        "Train longer: more epochs at the end of the ladder.",
        "A higher learning rate, if the curve is smooth: it gets further in the same epochs (Smith 2018).",
    ),
    "plateau": (
        'Let the learning rate decay: `lr_schedule = "cosine"`, if it is constant now.',
        "More capacity: training and validation loss stopped together.",
        "Better inputs or labels, if neither helps: the rest may be noise of the task.",
        "Fewer epochs cost less and end at the same loss.",
    ),
    "healthy": ("Nothing needs changing; more data or a larger model may still give a little.",),
}
_OVERCONFIDENT = (
    "Label smoothing or calibration, if probabilities matter: the metric has not got worse, only its certainty is wrong "
    "(Guo et al. 2017)."
)


_TOO_REGULAR = (
    "Less regularisation (weight decay, dropout, augmentation): the training loss lies above the validation loss, so that "
    "it holds the model back more than new data does."
)
HELD_BACK = 0.05
"""Of the start loss: a training loss so far above the validation loss is more than the lag of a mean over an epoch."""


def is_held_back(evidence: CurveEvidence) -> bool:
    """Whether regularisation costs more on the training data than it can gain on new ones."""
    return evidence.gap is not None and evidence.gap <= -HELD_BACK


def remedies_of(kind: DiagnosisKind, evidence: CurveEvidence | None) -> tuple[str, ...]:
    """Short sentences of plain text; backquotes mark what can be written into a recipe."""
    if kind == "overfitting" and evidence is not None and evidence.metric_has_worsened is False:
        return (*_REMEDIES[kind], _OVERCONFIDENT)
    if kind == "plateau" and evidence is not None and is_held_back(evidence):
        return (_TOO_REGULAR, *_REMEDIES[kind])
    return _REMEDIES[kind]
