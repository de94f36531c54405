"""What commands print: tables and sentences for a terminal.

One file per command or two that print the same; `tables.py` has what they share.
"""
