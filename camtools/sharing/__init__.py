"""What a training hands on: a bundle of its own, with its weights, its settings and a model card."""

from camtools.sharing.bundle import write_bundle

__all__ = ["write_bundle"]
