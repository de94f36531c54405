"""The command line: parse, call one function, print. Start in `group.py`; `output/` has what commands print.

May import everything. Imports that take time are made by the command that needs them: `curate --help` is fast.
"""

from curate.cli.group import main as main
