-- Who may sign, and what was signed last for every stream and tag.
--
-- A version is given to a pointer before it is signed, so that none is ever signed twice, and the signed pointer is kept before
-- it is published: what readers see can be written again from here.
CREATE TABLE key_list (
    version  INTEGER PRIMARY KEY,
    envelope TEXT    NOT NULL
) STRICT;

CREATE TABLE signed_pointer (
    channel  TEXT    NOT NULL,
    what     TEXT    NOT NULL,             -- 'stream/NAME' or 'tag/NAME'
    version  INTEGER NOT NULL,             -- the highest that was given
    envelope TEXT,                         -- NULL until the first is signed, and when what it stood for was removed
    PRIMARY KEY (channel, what)
) STRICT;
