"""Tier 1: signals that measure documents, edits that cut them, and rules that drop them.

Start in `registry.py`. There is one group of signals, one edit or one rule set per file.
"""
