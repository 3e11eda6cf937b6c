"""Settings of the documentation, which ``make docs`` writes to ``site/``."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_sphinx"))

project = "camtools"
author = copyright = "The camtools authors"
release = metadata.version("camtools")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "toc"]

html_theme = "furo"
html_title = f"camtools {release}"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

nitpicky = True  # a link to nothing is an error
nitpick_ignore = [
    ("py:class", "camtools.cams.averaged._Maps"),
    ("py:class", "camtools.data.samples.BatchTransform"),
    ("py:class", "camtools.data.samples.VolumeSamples"),
    ("py:class", "camtools.data.stored_slices.StoredSlices"),
    ("py:class", "camtools.networks.ensemble.MemberParts"),
    ("py:class", "camtools.scores.classifier.TrainedClassifier"),
    ("py:class", "camtools.tuning.maps.SpooledMaps"),
    ("py:class", "camtools.tuning.scores.ScoreTable"),
    ("py:class", "camtools.tuning.search.Fold"),
    ("py:class", "camtools.tuning.slices.SliceKey"),
    ("py:class", "camtools.tuning.statistics.MeanInterval"),
    ("py:class", "tuple[float"),
    ("py:class", "tuple[str"),
    ("py:exc", "FolderInUseError"),
    ("py:exc", "StorageError"),
    ("py:obj", "typing.Literal['none'"),
    ("py:obj", "typing.Literal['otsu'"),
]
nitpick_ignore_regex = [("py:class", r"(collections\.abc|monai|numpy|os|pathlib|torch)\..*")]
