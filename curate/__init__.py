"""Turn a large pile of text into a small, clean, explained training set for language models.

Start in `pipeline/run.py`, a run from its recipe to its manifest; ARCHITECTURE.md is the map.
"""

__version__ = "0.1.0"
