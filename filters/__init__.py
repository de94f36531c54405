"""Tier 1: what is measured of documents, what is cut from them, and what rules drop.

Start in `registry.py`. One group of signals, one edit, one rule set a file.
"""
