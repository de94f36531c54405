"""vLLM as an engine in this process, as servers over HTTP, or as a server that a run starts.

Start in `connect.py`. May import what the teacher may; knows no ledger.
"""
