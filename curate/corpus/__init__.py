"""From files and datasets to units of rows, and from these to batches of Arrow: columns, casts, texts, edits.

Start in `inputs.py` (which files) and `parquet.py` (how rows are read). May import the engine, the registry of signals,
and what comes before them.
"""
