"""What is measured of a text: one group of signals a file.

Start in `text.py`; `../registry.py` says what a signal is. May import the registry and the kernels.
"""
