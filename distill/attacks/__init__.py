"""Attacks, which corrupt good texts, so that labels are known by construction: one theme per file.

Start in `registry.py`; an attack is a function below `@attack`. May import text and teacher; knows no ledger.
"""
