-- Tags, where streams and tags went and on whose word, and which histories were given up.
--
-- Rows of histories stay for ever, also of those whose files are gone: they say which bytes were ever published under a
-- path, and caches hold those for a year.
CREATE TABLE tag (
    channel TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    history INTEGER NOT NULL,
    PRIMARY KEY (channel, name),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

-- What operators did; landings are told by the histories themselves.
CREATE TABLE movement (
    movement_id  INTEGER PRIMARY KEY,
    channel      TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('stream', 'tag')),
    name         TEXT    NOT NULL,
    from_history INTEGER,                  -- NULL when it came into being
    to_history   INTEGER,                  -- NULL when it was removed
    moved_at     INTEGER NOT NULL,         -- Unix seconds
    moved_by     TEXT    NOT NULL
) STRICT;

CREATE INDEX movement_name ON movement (channel, kind, name);

-- Why the history came about: 'landing', 'import', or what an operator did.
ALTER TABLE history ADD COLUMN cause TEXT NOT NULL DEFAULT '';

-- Unix seconds. Given up: the root index no longer names it. Removed: its files are gone.
ALTER TABLE history ADD COLUMN given_up_at INTEGER;

ALTER TABLE history ADD COLUMN removed_at INTEGER;
