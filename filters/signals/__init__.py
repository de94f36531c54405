"""Signals, which measure texts: one group of signals per file.

Start in `text.py`; `../registry.py` says what a signal is. May import the registry and the kernels.
"""
