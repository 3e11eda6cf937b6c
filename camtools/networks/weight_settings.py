"""Settings of a training that lie in its file of weights.

They are an entry of ``_metadata``, the attribute that PyTorch itself adds to a state dictionary, saves and loads. So
the file stays a plain state dictionary for every reader (``load_state_dict``, MONAI's export commands, MONAI Label). A
file of weights that is sent alone still has its settings, while a second file beside it would get lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camtools.networks.weights import read_weights

__all__ = ["read_settings", "with_settings"]

KEY = "camtools"  # not a name of a module, so load_state_dict passes over it


def with_settings(weights: Mapping[str, Any], settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A state dictionary with settings, which ``torch.save`` writes with it.

    Args:
        weights: state dictionary; it is not changed.
        settings: names and plain values (None, truth values, numbers, text, lists and dictionaries of these). None:
            ``weights`` as they are.

    Example:
        >>> import tempfile, torch
        >>> network = torch.nn.Linear(2, 1)
        >>> path = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.save(with_settings(network.state_dict(), {"pixel_size": 0.5}), path)
        >>> read_settings(path)
        {'pixel_size': 0.5}
        >>> network.load_state_dict(torch.load(path, weights_only=True))
        <All keys matched successfully>
    """
    if settings is None:
        return weights
    state = OrderedDict(weights)
    state._metadata = {**getattr(weights, "_metadata", {}), KEY: dict(settings)}  # type: ignore[attr-defined]
    return state


def read_settings(path: str | Path) -> dict[str, Any] | None:
    """Settings of :func:`with_settings`; None where the file has none.

    Raises:
        ValueError: the file is absent or damaged, or holds no weights.
    """
    found = getattr(read_weights("settings", path), "_metadata", {}).get(KEY)
    return dict(found) if isinstance(found, Mapping) else None
