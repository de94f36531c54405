"""What is cut from a text before it is measured: lines, and personal data.

Start in `c4.py`, a short example. May import kernels, the registry and the corpus.
"""
