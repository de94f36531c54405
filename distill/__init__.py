"""Tiers 2 and 3, the token budget, and what it cost.

Start in `purify/stage.py`. One tier, one folder; the file that runs inside a run is its `stage.py`. Files at the root
are shared by several.
"""
