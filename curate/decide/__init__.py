"""The cascade in SQL: which stage drops which document, for which reason.

Start in `decide.py`. May import dedup, and from distill what scores documents; it reads no text itself.
"""
