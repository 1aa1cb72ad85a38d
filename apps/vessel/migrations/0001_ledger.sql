-- Histories, what changed in each, streams, and the attempts that builders may upload for.
--
-- A history is described here by what changed from the one before it, so that a landing writes as many rows as it
-- brings packages, however large the channel is. What a history holds as a whole is its stone.index file; the content
-- digest in its id says whether that file is the right one.

CREATE TABLE history (
    channel     TEXT    NOT NULL,
    number      INTEGER NOT NULL,          -- 1, 2, 3 … within the channel
    id          TEXT    NOT NULL,          -- number and content digest: 17-3fa94c21
    previous    INTEGER,                   -- NULL for the first
    recorded_at INTEGER NOT NULL,          -- Unix seconds
    packages    INTEGER NOT NULL,          -- how many it holds
    attempt_id  INTEGER,                   -- NULL for an import
    PRIMARY KEY (channel, number),
    UNIQUE (channel, id),
    FOREIGN KEY (channel, previous) REFERENCES history (channel, number)
) STRICT;

CREATE TABLE change (
    channel      TEXT    NOT NULL,
    history      INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    architecture TEXT    NOT NULL,
    -- NULL when the package left.
    sha256       TEXT,
    pool_path    TEXT,
    PRIMARY KEY (channel, history, name, architecture),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

-- Which bytes were ever published under a path.
CREATE INDEX change_pool_path ON change (channel, pool_path);

CREATE TABLE stream (
    channel TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    history INTEGER NOT NULL,
    PRIMARY KEY (channel, name),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

CREATE TABLE attempt (
    attempt_id    INTEGER PRIMARY KEY,
    task_id       INTEGER NOT NULL,
    channel       TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    release       INTEGER NOT NULL,
    build_release INTEGER NOT NULL,
    architecture  TEXT    NOT NULL,
    builder_key   TEXT    NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('expected', 'landed', 'refused')),
    history       INTEGER,                 -- when landed
    reason        TEXT    NOT NULL,        -- why, when refused; what to look at, when landed
    expected_at   INTEGER NOT NULL,        -- Unix seconds
    CHECK ((state = 'landed') = (history IS NOT NULL)),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

CREATE INDEX attempt_state ON attempt (state);

CREATE TABLE artefact (
    attempt_id INTEGER NOT NULL REFERENCES attempt (attempt_id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('package', 'manifest-binary', 'manifest-json', 'record')),
    size_bytes INTEGER NOT NULL,
    sha256     TEXT    NOT NULL,
    PRIMARY KEY (attempt_id, name)
) STRICT;
