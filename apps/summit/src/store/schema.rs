//! The tables of Summit, as numbered steps that are never changed once released.

mod services;

use database::Migration;

/// Every step.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "the farm", sql: FARM },
    Migration { number: 2, name: "several projects", sql: PROJECTS },
    Migration { number: 3, name: "the services", sql: services::SERVICES },
];

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

/// A Summit has several projects, each with recipes and tasks of its own; what it learns from builds is kept.
///
/// * A task belongs to a project and says which channel it is published to. Tasks of before get both at the next start
///   (`Store::adopt_tasks`): until then their project and channel are empty. A member of a knot says in which round it is
///   built, from 1, and of which wave; `round` is 0 and `wave` is null outside of knots.
/// * Recipes are those of a project. They are read anew at the next look, so nothing of them is carried over.
/// * `wanted`: rebuilds that were asked for: a build release of at least that at that release. `why` is the JSON of
///   `farm::missing::Wish`.
/// * `sample`: how long builds took and how much memory they needed (0: unknown), for as many as `Store::learn` keeps.
/// * `output`: what a build of a member of a knot yielded: `normalised` names its content apart from what differs between
///   any two builds, `changed` says whether it differs from the generation before.
const PROJECTS: &str = "
ALTER TABLE task ADD COLUMN project TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN channel TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN wave INTEGER;
ALTER TABLE task ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
DROP INDEX task_by_recipe;
CREATE INDEX task_by_recipe ON task (project, architecture, recipe_path);

ALTER TABLE attempt ADD COLUMN peak_memory_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE project (
    name TEXT PRIMARY KEY,
    git_commit TEXT NOT NULL
) STRICT;
DELETE FROM setting WHERE name = 'commit';

DROP TABLE recipe;
CREATE TABLE recipe (
    project TEXT NOT NULL,
    path TEXT NOT NULL,
    source TEXT,
    version TEXT,
    release INTEGER,
    line INTEGER,
    column_number INTEGER,
    message TEXT,
    PRIMARY KEY (project, path)
) STRICT;

CREATE TABLE wanted (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    architecture TEXT NOT NULL,
    release INTEGER NOT NULL,
    build_release INTEGER NOT NULL,
    why TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, source, architecture)
) STRICT;

CREATE TABLE sample (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    architecture TEXT NOT NULL,
    builder TEXT NOT NULL,
    seconds REAL NOT NULL,
    peak_memory_bytes INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE output (
    project TEXT NOT NULL,
    source TEXT NOT NULL,
    architecture TEXT NOT NULL,
    task INTEGER NOT NULL REFERENCES task,
    round INTEGER NOT NULL,
    began INTEGER NOT NULL,
    landed INTEGER,
    normalised TEXT,
    changed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task)
) STRICT;
CREATE INDEX task_by_wave ON task (project, architecture, wave) WHERE wave IS NOT NULL;
CREATE INDEX output_by_source ON output (project, source, architecture, task);
";
