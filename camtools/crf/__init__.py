"""Dense CRF refinement of activation maps (Cfd-CAM, step 6)."""

from camtools.crf.inference import Backend, DenseCRF, dense_crf

__all__ = ["Backend", "DenseCRF", "dense_crf"]
