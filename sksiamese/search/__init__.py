"""Similarity search: a gallery of embedded images that lasts."""

from sksiamese.search._gallery import Gallery

__all__ = ["Gallery"]
