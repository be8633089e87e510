// The tables. A migration that has been released is never changed; the next one follows it.
//
// A record's body is a message of coordinator/convert; what is filtered or sorted has a column
// beside it. `over` is 1 for what a start need not load. Nothing is ever deleted.
#pragma once

namespace trainyard::coordinator {

inline constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE counters (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  project INTEGER NOT NULL, push INTEGER NOT NULL, job INTEGER NOT NULL, trial INTEGER NOT NULL,
  attempt INTEGER NOT NULL, worker INTEGER NOT NULL, launch INTEGER NOT NULL,
  checkpoint INTEGER NOT NULL, notice INTEGER NOT NULL, fencing INTEGER NOT NULL,
  cursor INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;

CREATE TABLE pushes (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL,
  project INTEGER NOT NULL REFERENCES projects (id) DEFERRABLE INITIALLY DEFERRED,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX pushes_open ON pushes (id) WHERE over = 0;

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL, published INTEGER NOT NULL,
  identity TEXT NOT NULL, request_key TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX jobs_open ON jobs (id) WHERE over = 0;
CREATE INDEX jobs_published ON jobs (id) WHERE published = 1;

CREATE TABLE trials (
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX trials_by_job ON trials (job);

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
  trial INTEGER NOT NULL REFERENCES trials (id) DEFERRABLE INITIALLY DEFERRED,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX attempts_by_job ON attempts (job);

-- A metric that is not a number is NULL.
CREATE TABLE epochs (
  trial INTEGER NOT NULL REFERENCES trials (id) DEFERRABLE INITIALLY DEFERRED,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL REFERENCES attempts (id) DEFERRABLE INITIALLY DEFERRED,
  job INTEGER NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
  step INTEGER NOT NULL,
  train_loss REAL, train_accuracy REAL, val_loss REAL, val_accuracy REAL, learning_rate REAL,
  images_per_second REAL, seconds REAL,
  exact INTEGER NOT NULL, superseded INTEGER NOT NULL, reported_wall_ms INTEGER NOT NULL,
  PRIMARY KEY (trial, epoch, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX epochs_by_job ON epochs (job);

CREATE TABLE checkpoints (
  id INTEGER PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
  trial INTEGER NOT NULL REFERENCES trials (id) DEFERRABLE INITIALLY DEFERRED,
  state TEXT NOT NULL, sha256 TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX checkpoints_by_job ON checkpoints (job);
CREATE INDEX checkpoints_sound ON checkpoints (sha256) WHERE state = 'sound';
CREATE INDEX checkpoints_dropping ON checkpoints (id) WHERE state = 'dropping';

CREATE TABLE workers (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX workers_open ON workers (id) WHERE over = 0;

CREATE TABLE launches (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX launches_open ON launches (id) WHERE over = 0;

CREATE TABLE notices (
  id INTEGER PRIMARY KEY, over INTEGER NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX notices_open ON notices (id) WHERE over = 0;

-- The body is what watchers are sent: a trainyard.v1.Event. Job 0: of none.
CREATE TABLE history (
  cursor INTEGER PRIMARY KEY, job INTEGER NOT NULL, wall_ms INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX history_by_job ON history (job, cursor);

-- Rows that could not be read, as they were found, for whoever wants to find out why.
CREATE TABLE set_aside (
  kind TEXT NOT NULL, id INTEGER NOT NULL, cause TEXT NOT NULL, body BLOB NOT NULL,
  found TEXT NOT NULL,
  PRIMARY KEY (kind, id, cause)
) STRICT;
)sql",
    R"sql(
ALTER TABLE epochs ADD COLUMN gradient_norm REAL;
ALTER TABLE epochs ADD COLUMN update_ratio REAL;
ALTER TABLE epochs ADD COLUMN dead_units REAL;
)sql",
};

}  // namespace trainyard::coordinator
