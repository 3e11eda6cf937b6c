"""Slice and patch tags in the browser: a page on this machine for a folder of volumes."""

from camtools.tag.serve import serve_tags

__all__ = ["serve_tags"]
