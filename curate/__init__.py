"""Turn a large pile of text into a small, clean, explained training set for language models."""

__version__ = "0.1.0"
