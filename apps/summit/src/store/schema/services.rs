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
/// * `audit`: who did what, one row for each change by whomever; `action` is a keyword of `access::Action`.
/// * `token`: `digest` is the SHA-256 of its secret, which nobody has but its holder; `scopes` is JSON. A token stays when it is
///   revoked, so that the trail can be read; names are unique among those that are not.
/// * `session`: a browser that showed a token once; worth no more than that token.
/// * `webhook`: how far each has been told of the events, and how the last try went; by its name in the configuration.
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
CREATE INDEX task_by_source ON task (project, architecture, source, id);

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

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    last_used INTEGER
) STRICT;
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked IS NULL;

CREATE TABLE session (
    digest TEXT PRIMARY KEY,
    token TEXT NOT NULL REFERENCES token,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE webhook (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    first_try INTEGER,
    next_try INTEGER,
    delivered INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    last_answer TEXT NOT NULL DEFAULT '',
    last_at INTEGER
) STRICT;
";
