"""Components that the bundles run: stages, training, volume pipelines, and the record of a run."""

from camtools.engine.check import DatasetCheck
from camtools.engine.config import begin_run, find_bundle_root, show_root_cause
from camtools.engine.evaluators import slice_evaluator, volume_evaluator
from camtools.engine.inferers import RandomSizeInferer
from camtools.engine.loading import slice_loader
from camtools.engine.multi_scale import MultiScaleInferer
from camtools.engine.pipelines import VolumePipeline, VolumesFailedError
from camtools.engine.prediction_pipeline import PredictionPipeline
from camtools.engine.random_views import RandomViewInferer
from camtools.engine.save_panel import SavePanel
from camtools.engine.segmenter_training import SegmenterTraining
from camtools.engine.self_training import SelfTraining
from camtools.engine.stage import run_stage
from camtools.engine.trainer import NetworkTrainer

__all__ = [
    "DatasetCheck",
    "MultiScaleInferer",
    "NetworkTrainer",
    "PredictionPipeline",
    "RandomSizeInferer",
    "RandomViewInferer",
    "SavePanel",
    "SegmenterTraining",
    "SelfTraining",
    "VolumePipeline",
    "VolumesFailedError",
    "begin_run",
    "find_bundle_root",
    "run_stage",
    "show_root_cause",
    "slice_evaluator",
    "slice_loader",
    "volume_evaluator",
]
