-- The run record, format 1. What the columns mean: docs/FORMAT.md.
--
-- Every table but `chain` and `timing` has `commit_number` first, its key next, and the digest of
-- the row last. Rows of a commit are written before the commit's row in `chain`, in one
-- transaction; from then on triggers refuse to add, change or remove any of them.

CREATE TABLE chain (
  number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  stage INTEGER NOT NULL,
  update_number INTEGER NOT NULL,
  name TEXT NOT NULL,
  previous BLOB NOT NULL CHECK (length(previous) = 32),
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  UNIQUE (kind, stage, update_number, name)
) STRICT;

CREATE TABLE run (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, name)
) STRICT;

CREATE TABLE task (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  position INTEGER NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  id TEXT NOT NULL,
  question TEXT NOT NULL,
  fields TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, position)
) STRICT;

CREATE TABLE tree (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  tree INTEGER NOT NULL,
  task BLOB NOT NULL REFERENCES task (hash),
  credit TEXT NOT NULL CHECK (credit IN ('absent', 'step', 'token')),
  token_credit BLOB,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, tree)
) STRICT;

CREATE TABLE tree_column (
  commit_number INTEGER NOT NULL,
  tree INTEGER NOT NULL,
  axis TEXT NOT NULL CHECK (axis IN ('step', 'token')),
  name TEXT NOT NULL,
  value BLOB NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, tree, axis, name),
  FOREIGN KEY (commit_number, tree) REFERENCES tree
) STRICT;

CREATE TABLE step (
  commit_number INTEGER NOT NULL,
  tree INTEGER NOT NULL,
  step INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  child_index INTEGER NOT NULL,
  origin TEXT NOT NULL,
  version INTEGER,
  stop TEXT NOT NULL,
  tokens BLOB NOT NULL,
  logprobs BLOB NOT NULL,
  text TEXT,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, tree, step),
  FOREIGN KEY (commit_number, tree) REFERENCES tree,
  FOREIGN KEY (commit_number, tree, parent) REFERENCES step
) STRICT;

CREATE TABLE verdict (
  commit_number INTEGER NOT NULL,
  tree INTEGER NOT NULL,
  step INTEGER NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('scored', 'unscored')),
  reward BLOB,
  reward_shown REAL,
  parts TEXT,
  reason TEXT,
  detail TEXT,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, tree, step),
  FOREIGN KEY (commit_number, tree, step) REFERENCES step
) STRICT;

CREATE TABLE credit (
  commit_number INTEGER NOT NULL,
  tree INTEGER NOT NULL,
  step INTEGER NOT NULL,
  value BLOB NOT NULL,
  value_shown REAL,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, tree, step),
  FOREIGN KEY (commit_number, tree, step) REFERENCES step
) STRICT;

CREATE TABLE metric (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  name TEXT NOT NULL,
  value BLOB NOT NULL,
  value_shown REAL,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, name)
) STRICT;

CREATE TABLE lineage (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  version INTEGER NOT NULL,
  checkpoint INTEGER,
  weights BLOB,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, version)
) STRICT;

CREATE TABLE sample (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  position INTEGER NOT NULL,
  task BLOB NOT NULL REFERENCES task (hash),
  answer TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('scored', 'unscored')),
  reward BLOB,
  reward_shown REAL,
  parts TEXT,
  reason TEXT,
  detail TEXT,
  digest BLOB NOT NULL,
  PRIMARY KEY (commit_number, position)
) STRICT;

-- Wall-clock seconds, outside every digest: they differ from run to run.
CREATE TABLE timing (
  commit_number INTEGER NOT NULL REFERENCES chain DEFERRABLE INITIALLY DEFERRED,
  name TEXT NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (commit_number, name)
) STRICT;

CREATE INDEX metric_by_name ON metric (name, commit_number);
