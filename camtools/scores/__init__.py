"""What measures: scores of runs, comparison of runs, and quality of activation maps."""

from camtools.scores.evaluation import Evaluation
from camtools.scores.pseudo_masks import PseudoMasks

__all__ = ["Evaluation", "PseudoMasks"]
