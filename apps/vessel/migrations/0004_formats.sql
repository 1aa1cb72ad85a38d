-- The format of each history, through which tag clients are led that read nothing newer than a format, and where a whole
-- channel went.
ALTER TABLE history ADD COLUMN format TEXT NOT NULL DEFAULT 'v0';

CREATE TABLE format_upgrade (
    channel TEXT NOT NULL,
    format  TEXT NOT NULL,                 -- the older one
    tag     TEXT NOT NULL,
    PRIMARY KEY (channel, format),
    FOREIGN KEY (channel, tag) REFERENCES tag (channel, name)
) STRICT;

CREATE TABLE channel_moved (
    channel    TEXT PRIMARY KEY,
    base_uri   TEXT    NOT NULL,
    to_channel TEXT    NOT NULL,
    moved_at   INTEGER NOT NULL,           -- Unix seconds
    moved_by   TEXT    NOT NULL
) STRICT;
