"""What the report shows of thin domains: what there is, was written and is wanting still, gates, and some texts."""

from typing import Any

Row = dict[str, Any]
