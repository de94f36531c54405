"""Names that all of a run has in common: groups of parts in the ledger, stages, and places in a run directory.

They are a contract: the ledgers of earlier versions are read by them.
"""

from pathlib import Path

# Groups of measurements, beside those of the signals (`filters/registry.py`).
DOCUMENTS = "documents"  # what is known of the raw text: size, hash, whether it is UTF-8, and the user's id
INPUT = "input"  # the input columns that rules, strata and exclusions name
EDITS = "edits"
BLOCK = "block"  # how often each document has what the lists of the recipe name
SIGNATURES = "signatures"  # MinHash values, by which near duplicates are found
LINE_HASHES = "line_hashes"  # by which repeated lines are
OVERLAPS = "overlaps"  # passages of evaluation sets
SEPARATE_GROUPS = (EDITS, SIGNATURES, LINE_HASHES, OVERLAPS)  # what is no column of the table of signals

# Groups of what a decision comes from.
DECISIONS = "decisions"
PAIRS = "pairs"
SHINGLES = "shingles"  # the sets of documents whose similarity an estimate leaves in doubt, while a run decides
BANDS = "bands"
LINE_EDITS = "line_edits"
TRIMMED = "trimmed"  # what is left of documents that lost lines
PENDING = "pending_"  # before the groups of parts that are not in force until all documents are decided

# Groups of tier 2.
MINED = "mined"  # texts of the corpus, while the run trains
PURIFY_MODEL, ATTACKS, ROUNDS, CALIBRATION = "purify_model", "attacks", "rounds", "calibration"
GRADE_MODEL, GRADES = "grade_model", "grades"
PURIFY_FACTS = "purify_facts"
PURIFY_MODELS = (PURIFY_MODEL, ATTACKS, ROUNDS, CALIBRATION, PURIFY_FACTS, GRADE_MODEL, GRADES)
P_BAD = "p_bad"
THRESHOLDS = "thresholds"

# Groups of the token budget.
LIKENESS, IMPORTANCE_TARGET, IMPORTANCE_CORPUS = "likeness_model", "importance_target", "importance_corpus"
PROJECTION, STATIC_VECTORS, CLUSTERS = "projection", "static_vectors", "cluster_centres"
BUDGET_GRADE_MODEL, BUDGET_FACTS = "distil_grade_model", "distil_facts"
BUDGET_MODELS = (
    LIKENESS,
    IMPORTANCE_TARGET,
    IMPORTANCE_CORPUS,
    PROJECTION,
    STATIC_VECTORS,
    CLUSTERS,
    BUDGET_GRADE_MODEL,
    BUDGET_FACTS,
)
SCORES = "distil_scores"
RUNGS, QUOTAS = "rungs", "quotas"

# Groups of tier 3, and of the output.
DOMAIN_MEMBERS, DOMAIN_ROWS = "domain_members", "domain_rows"
DATA = "data"  # also the folder of the output's shards

# Groups that are of one decision, and in force together.
DECISION_GROUPS = (
    DECISIONS, PAIRS, BANDS, LINE_EDITS, TRIMMED, P_BAD, THRESHOLDS, *PURIFY_MODELS, SCORES, RUNGS, QUOTAS,
    *BUDGET_MODELS,
)  # fmt: skip

# The stages of the cascade, in their order, and the one that adds documents.
STAGES = ("input", "rules", "exact", "near", "bands", "lines", "purify", "distil")
PURIFY, DISTIL, AUGMENT = "purify", "distil", "augment"

# Folders of a run directory, and files in them.
MODELS_FOLDER = "models"
WRITTEN_FOLDER, COMPARISON = "synthetic", "comparison"
JUDGED = "judged"  # the run over the candidates
AUGMENTED, DOMAINS, SYNTHETIC = "augmented.json", "domains.parquet", "synthetic.parquet"
COMPARISON_FILE = "comparison.parquet"
BEYOND_CAP = "beyond_cap"  # the reason why a written document that passed is not in the output
EVALUATION_FOLDER = Path("evaluation")
ARMS = EVALUATION_FOLDER / "arms"
RETENTION, TRACKING = "retention", "tracking"  # parts of an evaluation: of the whole run, and stage by stage

INDEX = "run.duckdb"
