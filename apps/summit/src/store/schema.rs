//! The tables of Summit, as numbered steps that are never changed once released.

use database::Migration;

/// Every step.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration { number: 1, name: "the farm", sql: FARM }];

/// Times are milliseconds since 1970. A `state` is the JSON of `farm::task::State`; `phase` repeats its name so that
/// tasks can be found by it. `token` rises with every lease.
const FARM: &str = "
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    version TEXT NOT NULL,
    release INTEGER NOT NULL,
    build_release INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    recipe_path TEXT NOT NULL,
    content TEXT NOT NULL,
    git_commit TEXT NOT NULL,
    commit_time_seconds INTEGER NOT NULL,
    reason TEXT NOT NULL,
    phase TEXT NOT NULL,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE INDEX task_by_phase ON task (phase, updated);
CREATE INDEX task_by_recipe ON task (recipe_path);

CREATE TABLE attempt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES task,
    builder TEXT NOT NULL,
    token INTEGER NOT NULL UNIQUE,
    assigned INTEGER NOT NULL,
    started INTEGER,
    built INTEGER,
    ended INTEGER,
    outcome TEXT,
    why TEXT NOT NULL,
    log_full INTEGER NOT NULL DEFAULT 0,
    withdraw INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX attempt_by_task ON attempt (task);
CREATE INDEX attempt_to_withdraw ON attempt (id) WHERE withdraw = 1;

CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES task,
    generation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    event TEXT NOT NULL,
    phase TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_task ON event (task);

CREATE TABLE builder (
    public_key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    added INTEGER NOT NULL,
    drained INTEGER NOT NULL DEFAULT 0,
    faults_in_row INTEGER NOT NULL DEFAULT 0,
    last_fault INTEGER NOT NULL DEFAULT 0,
    last_fault_reason TEXT NOT NULL DEFAULT '',
    last_seen INTEGER,
    about TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE recipe (
    path TEXT PRIMARY KEY,
    source TEXT,
    version TEXT,
    release INTEGER,
    line INTEGER,
    column_number INTEGER,
    message TEXT
) STRICT;
";
