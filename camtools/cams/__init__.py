"""Class activation maps: where in an image a classifier sees a class.

Each map is a pure tensor function (:func:`grad_cam`, :func:`class_activation_map`) and a thin class over it that reads
activations and gradients out of a model: ``maps = GradCAM(model, layers=[...])(images, target=1)``.
:class:`LTActivationMap` truncates the gradients of any such function and adds its maps over the layers.
"""

from camtools.cams.ablation_cam import AblationCAM, ablation_cam
from camtools.cams.averaged import AveragedMaps, MirroredMaps, MultiScaleMaps
from camtools.cams.base import ActivationMap, GradientActivationMap
from camtools.cams.cam import CAM, class_activation_map
from camtools.cams.cfd_cam import CfdCAM, confidence_weights
from camtools.cams.full_grad import FullGrad, bias_gradient_map
from camtools.cams.grad_cam import GradCAM, grad_cam
from camtools.cams.grad_cam_pp import GradCAMpp, grad_cam_pp
from camtools.cams.layer_cam import LayerCAM, layer_cam
from camtools.cams.lt_cam import LTActivationMap, LTFullGrad, LTGradCAM, LTLayerCAM
from camtools.cams.patch_class_maps import PatchClassMaps, class_distribution
from camtools.cams.score_cam import ScoreCAM, score_cam
from camtools.cams.tokens import Tokens, channels_first, channels_last
from camtools.cams.truncation import truncate_gradients
from camtools.cams.xgrad_cam import XGradCAM, xgrad_cam

__all__ = [
    "CAM",
    "AblationCAM",
    "ActivationMap",
    "AveragedMaps",
    "CfdCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMpp",
    "GradientActivationMap",
    "LTActivationMap",
    "LTFullGrad",
    "LTGradCAM",
    "LTLayerCAM",
    "LayerCAM",
    "MirroredMaps",
    "MultiScaleMaps",
    "PatchClassMaps",
    "ScoreCAM",
    "Tokens",
    "XGradCAM",
    "ablation_cam",
    "bias_gradient_map",
    "channels_first",
    "channels_last",
    "class_activation_map",
    "class_distribution",
    "confidence_weights",
    "grad_cam",
    "grad_cam_pp",
    "layer_cam",
    "score_cam",
    "truncate_gradients",
    "xgrad_cam",
]
