"""Edits, which cut or replace parts of a text before it is measured: lines, and personal data.

Start in `c4.py`, a short example. May import the registry and the kernels.
"""
