"""Processes: how they start, stop, and end with their parent, and how they report progress.

Start in `child.py`. May import the modules at the root of `curate`.
"""
