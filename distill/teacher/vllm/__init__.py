"""vLLM: an engine in this process, servers over HTTP, and servers that are started here.

Start in `connect.py`. May import what the teacher may; knows no ledger.
"""
