-- What else belongs to a build, what waits for others, where debug information is, and release files.

-- What Summit said of the build, for its provenance. Empty for attempts from before these columns.
ALTER TABLE attempt ADD COLUMN recipe_repository TEXT NOT NULL DEFAULT '';

ALTER TABLE attempt ADD COLUMN recipe_commit TEXT NOT NULL DEFAULT '';

ALTER TABLE attempt ADD COLUMN recipe_path TEXT NOT NULL DEFAULT '';

ALTER TABLE attempt ADD COLUMN builder_name TEXT NOT NULL DEFAULT '';

-- 1 when it lands although what it needs is not there: it is one of several that need each other.
ALTER TABLE attempt ADD COLUMN may_land_unmet INTEGER NOT NULL DEFAULT 0;

-- What an attempt waits for that is here completely; NULL when it waits for nothing. Its state is 'expected' until it lands.
ALTER TABLE attempt ADD COLUMN held TEXT;

-- Manifests, the record and the provenance of a build. A row stays for ever: it says which bytes were published under a path.
CREATE TABLE build_file (
    channel       TEXT    NOT NULL,
    path          TEXT    NOT NULL,        -- below the channel: build/n/nano/8.4-34-1-x86_64/provenance.json
    sha256        TEXT    NOT NULL,
    size_bytes    INTEGER NOT NULL,
    source        TEXT    NOT NULL,
    -- VERSION-RELEASE-BUILDRELEASE-ARCH, as file names of its packages end.
    build         TEXT    NOT NULL,
    history       INTEGER NOT NULL,        -- with which it was published
    removed_at    INTEGER,                 -- Unix seconds; when no history holds a package of the build any more
    PRIMARY KEY (channel, path),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

CREATE INDEX build_file_source ON build_file (channel, source);

-- Which package has the debug information of which build id. Packages that are gone are passed over.
CREATE TABLE debug_file (
    build_id  TEXT    NOT NULL,            -- lower-case hexadecimal digits
    channel   TEXT    NOT NULL,
    history   INTEGER NOT NULL,            -- with which the package came
    pool_path TEXT    NOT NULL,
    target    TEXT    NOT NULL,            -- below /usr: lib/debug/.build-id/ab/cdef.debug
    PRIMARY KEY (build_id, channel, pool_path),
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;

CREATE INDEX debug_file_package ON debug_file (channel, pool_path);

-- Whether a package of these bytes was ever published, and where.
CREATE INDEX change_sha256 ON change (sha256);

-- Files that are published beside the packages: images and the like.
CREATE TABLE release (
    channel    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    added_at   INTEGER NOT NULL,           -- Unix seconds
    added_by   TEXT    NOT NULL,
    removed_at INTEGER,                    -- Unix seconds; its names and digests stay taken
    PRIMARY KEY (channel, name)
) STRICT;

CREATE TABLE release_file (
    channel    TEXT    NOT NULL,
    release    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (channel, release, name),
    FOREIGN KEY (channel, release) REFERENCES release (channel, name)
) STRICT;

-- Channels in which everything was once offered that was needed; from then on sets are held back that need more.
CREATE TABLE closed_channel (
    channel TEXT    NOT NULL PRIMARY KEY,
    history INTEGER NOT NULL,
    FOREIGN KEY (channel, history) REFERENCES history (channel, number)
) STRICT;
