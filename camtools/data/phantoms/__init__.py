"""Phantoms: synthetic volumes and photographs with masks, to try the methods without real data.

``make_phantom(kind, seed)`` draws one, ``write_phantoms(kind, out_dir, n)`` writes a dataset folder. A new kind
is a module that defines a ``PhantomKind`` and one line in ``registry.KINDS``.
"""

from camtools.data.phantoms.phantom import Phantom, PhantomKind, Photograph
from camtools.data.phantoms.registry import KINDS, make_phantom
from camtools.data.phantoms.writer import write_phantoms

__all__ = ["KINDS", "Phantom", "PhantomKind", "Photograph", "make_phantom", "write_phantoms"]
