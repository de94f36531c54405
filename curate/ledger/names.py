"""Names shared by all of a run: part groups of the ledger, stages, and paths in a run directory.

The strings are a contract: ledgers of earlier versions are read by them.
"""

from pathlib import Path

# Groups of measurements, in addition to the signal groups (`filters/registry.py`).
DOCUMENTS = "documents"  # the raw text's size and hash, whether it is UTF-8, and the user's id
INPUT = "input"  # input columns that rules, strata and exclusions name
EDITS = "edits"
BLOCK = "block"  # matches per document of each block list
SIGNATURES = "signatures"  # MinHash signatures, to find near duplicates
LINE_HASHES = "line_hashes"  # hashes of lines, to find repeated lines
OVERLAPS = "overlaps"  # passages of evaluation sets
SEPARATE_GROUPS = (EDITS, SIGNATURES, LINE_HASHES, OVERLAPS)  # not joined into the table of signals

# Groups of decisions and of their evidence.
DECISIONS = "decisions"
PAIRS = "pairs"
SHINGLES = "shingles"  # shingle sets of documents in border pairs; only while a run decides
BANDS = "bands"
LINE_EDITS = "line_edits"  # what the stages lines and purify cut
TRIMMED = "trimmed"  # sizes of documents after lines were cut
PENDING = "pending_"  # prefix of groups whose parts come into force once all documents are decided

# Groups of tier 2.
MINED = "mined"  # texts of the corpus; only while the run trains
PURIFY_MODEL, ATTACKS, ROUNDS, CALIBRATION = "purify_model", "attacks", "rounds", "calibration"
GRADE_MODEL, GRADES = "grade_model", "grades"
PURIFY_FACTS = "purify_facts"
PASSAGE_MODEL, PASSAGE_CALIBRATION = "passage_model", "passage_calibration"
PURIFY_MODELS = (
    PURIFY_MODEL,
    ATTACKS,
    ROUNDS,
    CALIBRATION,
    PURIFY_FACTS,
    GRADE_MODEL,
    GRADES,
    PASSAGE_MODEL,
    PASSAGE_CALIBRATION,
)
P_BAD = "p_bad"
THRESHOLDS = "thresholds"
PASSAGES = "passages"  # those of each document that may be cut, with their p_bad
PASSAGE_THRESHOLDS = "passage_thresholds"
WITHOUT_PASSAGES = "without_passages"  # sizes of documents after passages were cut

# Groups of the token budget.
LIKENESS, IMPORTANCE_TARGET, IMPORTANCE_CORPUS = "likeness_model", "importance_target", "importance_corpus"
PROJECTION, STATIC_VECTORS, CLUSTERS = "projection", "static_vectors", "cluster_centres"
BUDGET_GRADE_MODEL, BUDGET_FACTS = "distil_grade_model", "distil_facts"
TUNING_TEXTS = "tuning_texts"
BUDGET_MODELS = (
    LIKENESS,
    IMPORTANCE_TARGET,
    IMPORTANCE_CORPUS,
    PROJECTION,
    STATIC_VECTORS,
    CLUSTERS,
    BUDGET_GRADE_MODEL,
    TUNING_TEXTS,
    BUDGET_FACTS,
)
SCORES = "distil_scores"
RUNGS, QUOTAS, TUNING = "rungs", "quotas", "tuning"

# Groups of tier 3 and of the output.
DOMAIN_MEMBERS, DOMAIN_ROWS = "domain_members", "domain_rows"
DATA = "data"  # also the folder of the output's shards

# Groups that one decision writes; they come into force together.
DECISION_GROUPS = (
    DECISIONS,
    PAIRS,
    BANDS,
    LINE_EDITS,
    TRIMMED,
    P_BAD,
    THRESHOLDS,
    PASSAGES,
    PASSAGE_THRESHOLDS,
    WITHOUT_PASSAGES,
    *PURIFY_MODELS,
    SCORES,
    RUNGS,
    QUOTAS,
    TUNING,
    *BUDGET_MODELS,
)

# The stages of the cascade in order, and the stage that adds documents.
STAGES = ("input", "rules", "exact", "near", "bands", "lines", "purify", "distil")
PURIFY, DISTIL, AUGMENT = "purify", "distil", "augment"

# Folders of a run directory, and files in them.
MODELS_FOLDER = "models"
WRITTEN_FOLDER, COMPARISON = "synthetic", "comparison"
JUDGED = "judged"  # the run that judges the candidates
AUGMENTED, DOMAINS, SYNTHETIC = "augmented.json", "domains.parquet", "synthetic.parquet"
COMPARISON_FILE = "comparison.parquet"
BEYOND_CAP = "beyond_cap"  # the reason of a written document that passed but exceeds its domain's cap
EVALUATION_FOLDER = Path("evaluation")
ARMS = EVALUATION_FOLDER / "arms"
RETENTION, TRACKING = "retention", "tracking"  # parts of an evaluation: of the whole run, and by stage

INDEX = "run.duckdb"
