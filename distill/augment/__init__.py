"""Tier 3: documents written for a domain that the corpus has too little of.

Start in `write.py`. May import the cascade, the maps and the teacher.
"""
