"""What measures: scores of runs, comparison of runs, and quality of activation maps."""

from camtools.scores.evaluation import Evaluation

__all__ = ["Evaluation"]
