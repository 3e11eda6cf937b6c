"""Geodesic distance from seeds, and the soft pseudo-label made of it (UM-CAM, section 2.2)."""

from camtools.geodesic.distance import Backend, geodesic_distance
from camtools.geodesic.pseudo_label import pseudo_label_seeds, seed_pseudo_label, spl_from_seeds

__all__ = ["Backend", "geodesic_distance", "pseudo_label_seeds", "seed_pseudo_label", "spl_from_seeds"]
