"""Dense CRF refinement of activation maps (Cfd-CAM, step 6)."""

from camtools.crf.inference import Backend, dense_crf
from camtools.crf.refinement import DenseCRF

__all__ = ["Backend", "DenseCRF", "dense_crf"]
