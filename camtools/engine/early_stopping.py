"""Early stopping that a killed training repeats exactly.

``monai.handlers.EarlyStopHandler`` counts in memory and saves nothing. A resumed training would start its count again
and train longer than an uninterrupted one, and a training that stopped early would go on if it was run again. Here the
decision follows from the history of validations, which is part of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_patience", "reason_to_stop"]


def check_patience(patience: int | None, validated: bool) -> None:
    """Check the argument ``patience`` of a training.

    Args:
        patience: validations without a better key metric after which the training ends; None: it never ends early.
        validated: whether the training has an evaluator.

    Raises:
        ValueError: patience is below 1, or there is no validation.
    """
    if patience is None:
        return
    if patience < 1:
        raise ValueError(f"Expected patience to be a number of validations, at least 1, or null, found {patience}.")
    if not validated:
        raise ValueError(
            f"Expected validation data for patience={patience}, found none. Add validation items to dataset.json, or "
            "set patience to null."
        )


def reason_to_stop(history: Sequence[dict[str, float]], metric: str, patience: int) -> str | None:
    """Say why a training should end after the last epoch of its history, if it should.

    It should if the last ``patience`` validations all failed to exceed the best value before them.

    Args:
        history: one row per epoch, with the key ``epoch``, and the key of the metric in epochs with a validation.
        metric: key of the metric; higher is better.
        patience: validations without a better value after which the training ends.

    Returns:
        The reason, or None to go on.

    Example:
        >>> history = [{"epoch": 1, "dice": 0.8}, {"epoch": 2, "dice": 0.7}, {"epoch": 3, "dice": 0.8}]
        >>> reason_to_stop(history, "dice", patience=2)
        'no better dice than 0.8000 of epoch 1 in 2 validations'
        >>> reason_to_stop(history, "dice", patience=3)
    """
    validations = [row for row in history if metric in row]
    if not validations:
        return None
    values = [row[metric] for row in validations]
    best = values.index(max(values))
    since = len(values) - 1 - best
    if since < patience:
        return None
    epoch = int(validations[best]["epoch"])
    return f"no better {metric} than {values[best]:.4f} of epoch {epoch} in {since} validations"
