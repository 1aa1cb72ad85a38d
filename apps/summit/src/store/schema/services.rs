//! The tables of the services around the farm.

/// Several Summits on one database, of which one leads; who may do what; what was done.
///
/// * `leader`: one row. `epoch` rises whenever a Summit takes over; a write that was begun under an earlier one is refused
///   (see `leader.rs`). `http` and `grpc` say where the leader is reached, `since` since when it leads.
/// * `task.priority`: what an operator said about this task; null when the configuration decides.
/// * `builder`: what the operator says about it, and never the builder itself. `labels` are words for people, `features`
///   words for `[[project.requirement]]` (both JSON lists). `role` is what its key may do at all. `from_config` is 1 for one
///   that the configuration names: it goes when it is not named any more. `removed`: since when its key is refused; the
///   row stays, so that old attempts have a name.
/// * `enrolment`: one-time tokens for new builders, of which only the SHA-256 is kept, with all that a builder who presents
///   one becomes. `used` and `used_by` are null until then.
pub(super) const SERVICES: &str = "
CREATE TABLE leader (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    http TEXT NOT NULL,
    grpc TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
INSERT INTO leader (id, epoch, http, grpc, since) VALUES (1, 0, '', '', 0);

ALTER TABLE task ADD COLUMN priority TEXT;

ALTER TABLE builder ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE builder ADD COLUMN features TEXT NOT NULL DEFAULT '[]';
ALTER TABLE builder ADD COLUMN trust TEXT NOT NULL DEFAULT 'any';
ALTER TABLE builder ADD COLUMN size TEXT NOT NULL DEFAULT 'small';
ALTER TABLE builder ADD COLUMN role TEXT NOT NULL DEFAULT 'builder';
ALTER TABLE builder ADD COLUMN from_config INTEGER NOT NULL DEFAULT 0;
ALTER TABLE builder ADD COLUMN removed INTEGER;
CREATE INDEX attempt_by_builder ON attempt (builder, id);

CREATE TABLE enrolment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    token_hash TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    features TEXT NOT NULL,
    trust TEXT NOT NULL,
    size TEXT NOT NULL,
    role TEXT NOT NULL,
    made INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER,
    used_by TEXT
) STRICT;
";
