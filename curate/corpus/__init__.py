"""From files and datasets to units of rows, and from these to batches of Arrow: reading, casts, texts, edits.

Start in `inputs.py` (which files) and `parquet.py` (how rows are read). May import the recipe, storage and the registry
of signals.
"""
