from __future__ import annotations

import pytest

from camtools.transforms.scopes import scope_axes


def test_another_scope_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected scope to be 'slice' or 'volume', found 'case'. Choose one"):
        scope_axes("case")  # type: ignore[arg-type]
