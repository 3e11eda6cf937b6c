"""Public datasets, turned into a folder with ``dataset.json``.

A new dataset is a module that lists its cases and writes one of them (see ``lgg``), and a command in
``camtools.cli.importing``. Splits, atomic writing and the summary are in ``dataset``.
"""

from camtools.data.importers.brats import import_brats
from camtools.data.importers.by_pattern import import_by_pattern
from camtools.data.importers.choices import Choices
from camtools.data.importers.dataset import format_summary
from camtools.data.importers.glas import import_glas
from camtools.data.importers.join_folder import join_folder
from camtools.data.importers.lgg import import_lgg
from camtools.data.importers.msd import import_msd
from camtools.data.importers.nnunet import import_nnunet

__all__ = [
    "Choices",
    "format_summary",
    "import_brats",
    "import_by_pattern",
    "import_glas",
    "import_lgg",
    "import_msd",
    "import_nnunet",
    "join_folder",
]
