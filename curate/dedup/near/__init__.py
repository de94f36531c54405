"""Near duplicates by MinHash: candidates by bands, verified by whole texts, the best copy survives.

Start in `stage.py`; `maps.py` has all that looks at signatures.
"""
