"""The figure of docs/retention.md: it is drawn from docs/retention.csv, and says what stands there."""

import re
from xml.etree import ElementTree

import pytest
from support.paths import ROOT

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import retention_curve

    return retention_curve


def test_the_figure_is_that_of_the_figures(curve):
    points = curve.read(ROOT / "docs" / "retention.csv")
    assert {point.arm for point in points} == {
        "ours", "classifier only", "lowest perplexity", "rules only", "random",
    }  # fmt: skip
    assert {point.budget for point in points} == set(curve.SHARES)
    assert (ROOT / "docs" / "retention.svg").read_text("utf-8") == curve.figure(points)


def test_what_is_written_is_read_again(curve, tmp_path):
    points = curve.read(ROOT / "docs" / "retention.csv")
    curve.write(points, tmp_path / "points.csv")
    assert curve.read(tmp_path / "points.csv") == points
    assert any(point.gap_closed is None for point in points)


def test_a_better_selection_is_higher_and_a_larger_budget_further_right(curve):
    def point(arm, budget, retained, gap):
        around = (retained - 0.01, retained + 0.01), (None if gap is None else gap - 0.05, gap and gap + 0.05)
        return curve.Point("1", arm, budget, 1000, retained, *around[0], gap, *around[1])

    points = [point("ours", 0.02, 0.9, 0.5), point("ours", 0.5, 1.0, -3.0), point("random", 0.02, 0.8, None)]
    drawn = ElementTree.fromstring(curve.figure(points))
    ours, chance = drawn.findall(f".//{SVG}g")[0].findall(f"{SVG}polyline")
    (left, low), (right, high) = (map(float, place.split(",")) for place in ours.get("points").split())
    assert left < right
    assert high < low < float(chance.get("points").split(",")[1])
    gap_panel = drawn.findall(f".//{SVG}g")[1]
    [gap_line] = gap_panel.findall(f"{SVG}polyline")
    assert float(gap_line.get("points").split()[1].split(",")[1]) == 220  # not out of the panel
    assert re.findall("ours|random", "".join(drawn.itertext())) == ["ours", "random"]
