"""MONAI Label: a server with the trained bundles, for 3D Slicer and OHIF."""

from camtools.label.folder import prepare_app, trained_bundles

__all__ = ["prepare_app", "trained_bundles"]
