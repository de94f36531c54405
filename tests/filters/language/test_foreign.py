"""What rules made for English drop of other languages is told, and languages that are not kept are counted."""

import json

import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard

GERMAN = "Die Stadt hat heute mitgeteilt, dass der Markt am Freitag wegen des Regens nicht stattfinden kann. " * 5
RUSSIAN = "Сегодня город сообщил, что рынок в пятницу не откроется из-за сильного дождя и холодного ветра. " * 5
WARNING = (
    "rules made for English (gopher) drop 45 of 45 documents in other languages, most for too_few_stop_words: "
    "de 25 of 25, ru 20 of 20; what to do: docs/language.md"
)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe over 60 documents in English, 25 in German and 20 in Russian, of which 5 are too short too."""
    monkeypatch.chdir(tmp_path)
    texts = [f"{PROSE * 2} {k}" for k in range(60)] + [f"{GERMAN} {k}" for k in range(25)]
    texts += [f"{RUSSIAN if k < 15 else RUSSIAN[:95]} {k}" for k in range(20)]
    write_shard(tmp_path / "in" / "web.parquet", texts)
    path = tmp_path / "recipe.yaml"
    fields = {"name": "t", "output": "runs/t", "input": {"paths": ["in"]}, "tier1": {"rules": ["gopher"]}}
    path.write_text(yaml.safe_dump(fields))
    return path


def planned(recipe, *changes):
    options = [part for change in changes for part in ("--set", change)]
    done = command("plan", recipe, "--json", "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_plan_run_and_report_tell_by_language_what_rules_for_english_drop(recipe):
    assert planned(recipe)["warnings"] == [WARNING]
    done = command("run", recipe)
    assert f"warning: {WARNING}\n" in done.stdout
    assert command("report", "runs/t").returncode == 0
    assert "drop 45 of 45 documents in other languages" in (recipe.parent / "runs" / "t" / "report.html").read_text()


def test_where_languages_are_measured_all_documents_are_counted(recipe):
    summary = carry_out(recipe, "tier1.language={}")
    assert summary["warnings"] == [WARNING]
    assert summary["other_language"] is None


def test_languages_that_are_not_kept_are_counted_also_behind_another_reason_and_not_warned_of(recipe):
    keep = "tier1.language={keep: [en]}"
    counted = {"documents": 45, "behind_another_reason": 45}
    found = planned(recipe, keep)
    assert (found["other_language"], found["warnings"]) == (counted, [])
    summary = carry_out(recipe, keep)
    assert (summary["other_language"], summary["warnings"]) == (counted, [])
    done = command("run", recipe, "--set", keep, "--set", "tier1.thresholds={too_few_stop_words: null}")
    told = "other_language: 45 documents, 40 with it as the first reason and 5 behind another one\n"
    assert told in done.stdout
    summary = carry_out(recipe, "tier1.language={keep: [en, de]}")
    assert summary["other_language"]["documents"] == 20
    [warning] = summary["warnings"]
    assert "drop 25 of 25 documents in other languages, most for too_few_stop_words: de 25 of 25;" in warning


def test_nothing_is_told_where_the_rule_judges_english_alone(recipe):
    rule = "{reason: english, signal: n_stop_words, min: 2, if: \"language = 'en'\"}"
    summary = carry_out(recipe, f"tier1.rules=[gopher, {rule}]", "tier1.thresholds={too_few_stop_words: null}")
    assert summary["documents_out"] == 100
    assert summary["warnings"] == []


def test_of_a_large_corpus_a_sample_tells(recipe, tmp_path):
    texts = [f"{PROSE * 2 if k % 3 else GERMAN} {k}" for k in range(6000)]
    write_shard(tmp_path / "in" / "web.parquet", texts)
    for told in (planned(recipe, "dedup.exact=false")["warnings"], carry_out(recipe, "dedup.exact=false")["warnings"]):
        [warning] = told
        assert warning.startswith("rules made for English (gopher) drop by a sample of "), warning
        [about] = [word for word in warning.split("about ")[1].split()[:1]]
        assert 1800 <= int(about.replace(",", "")) <= 2200, warning
