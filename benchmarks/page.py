"""docs/benchmarks.md, which two scripts write: speed.py the first part, peers/compare.py the last one."""

import os
import platform
import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
LAST = "## Beside other tools\n"


def parts_of_page() -> tuple[str, str]:
    """The page as it is: before the last part, and the last part."""
    first, heading, last = PAGE.read_text("utf-8").partition(LAST)
    return first, heading + last


def write_page(first: str, last: str) -> None:
    """Write both parts."""
    PAGE.write_text(f"{first.strip()}\n\n{last.strip()}\n", "utf-8")


def machine() -> str:
    """Processor, cores, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{kind}, Python {platform.python_version()}, shared with others"


def processor() -> str:
    """Its model as the kernel names it, and the architecture."""
    information = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", information.read_text() if information.exists() else "", re.MULTILINE)
    return f"{found[1].strip()} ({platform.machine()})" if found else platform.machine()
