"""What commands print: tables and sentences for a terminal.

Start in `run.py`. One file per command, or for two that print the same; `tables.py` has what they share.
"""
