"""The cascade in SQL: which stage drops which document, and for which reason. No text is read here.

Start in `decide.py`. May import dedup, the stages of distill/purify and distill/budget, and what comes before them.
"""
