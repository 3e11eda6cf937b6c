from __future__ import annotations

import pytest
import typer

from camtools.cli.common import plain_errors


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError, ImportError])
def test_one_message_and_exit_code(kind, capsys):
    with pytest.raises(typer.Exit) as ending, plain_errors():
        raise kind("no such folder")
    assert ending.value.exit_code == 1
    assert capsys.readouterr().err == "Error: no such folder\n"


def test_a_wrapped_error_is_told_by_its_cause(capsys):
    with pytest.raises(typer.Exit), plain_errors():
        raise RuntimeError("component could not be built") from ValueError("the mask is empty")
    assert "the mask is empty" in capsys.readouterr().err


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(KeyError, match="oops"), plain_errors():
        raise KeyError("oops")
