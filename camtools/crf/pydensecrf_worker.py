"""One slice through pydensecrf. Also a program: worker processes run this file, so that they load nothing but it needs.

Requests and replies are pickles on standard input and output, each preceded by its length in eight bytes.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Kernel = tuple[NDArray[Any], float]
    Request = tuple[NDArray[Any], Sequence[Kernel], int]


def foreground_probability(logits: NDArray[Any], kernels: Sequence[Kernel], iterations: int) -> NDArray[Any]:
    """Foreground marginals ``(N,)`` of one slice.

    Args:
        logits: log-odds of the foreground without neighbours, ``(N,)``, float32.
        kernels: features ``(d, N)``, float32, and weight of each kernel.
        iterations: mean-field iterations.
    """
    import numpy as np
    from pydensecrf.densecrf import DenseCRF

    model = DenseCRF(len(logits), 2)
    model.setUnaryEnergy(np.stack([logits, -logits]) / 2)
    for features, compat in kernels:
        model.addPairwiseEnergy(np.ascontiguousarray(features), compat=compat)
    foreground: NDArray[Any] = np.array(model.inference(iterations))[1]
    return foreground


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message to an unbuffered stream."""
    content = pickle.dumps(message, protocol=5)
    rest = memoryview(struct.pack("<q", len(content)) + content)
    while rest:
        rest = rest[stream.write(rest) :]


def receive(stream: IO[bytes]) -> Any:
    """Read one message; EOFError when the other side has closed the stream."""
    (length,) = struct.unpack("<q", _read(stream, 8))
    return pickle.loads(_read(stream, length))


def _read(stream: IO[bytes], length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        more = stream.read(length - len(content))
        if not more:
            raise EOFError("the other process has closed the connection")
        content += more
    return bytes(content)


def serve() -> None:
    """Answer requests until the parent closes the connection, which also happens when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not end up between the replies
    sys.path[:] = receive(requests)
    try:
        while True:
            send(replies, _answer(receive(requests)))
    except (EOFError, BrokenPipeError):
        return


def _answer(request: Request) -> tuple[bool, Any]:
    try:
        return True, foreground_probability(*request)
    except Exception:
        return False, traceback.format_exc()


if __name__ == "__main__":
    serve()
