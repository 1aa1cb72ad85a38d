-- Packages that some state has or had, with what they contain, and the states.
-- Dependencies and providers are text of the form keyword(name). Digests are hexadecimal text.
CREATE TABLE package (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    source_release INTEGER NOT NULL,
    build_release INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    summary TEXT NOT NULL,
    description TEXT NOT NULL,
    source_id TEXT NOT NULL,
    homepage TEXT NOT NULL,
    uri TEXT,
    download_size INTEGER,
    installed_size INTEGER NOT NULL
) STRICT;

CREATE TABLE package_license (
    package_id TEXT NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    license TEXT NOT NULL,
    PRIMARY KEY (package_id, license)
) STRICT, WITHOUT ROWID;

CREATE TABLE package_dependency (
    package_id TEXT NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    dependency TEXT NOT NULL,
    PRIMARY KEY (package_id, dependency)
) STRICT, WITHOUT ROWID;

CREATE TABLE package_provider (
    package_id TEXT NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    PRIMARY KEY (package_id, provider)
) STRICT, WITHOUT ROWID;

CREATE TABLE package_conflict (
    package_id TEXT NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    conflict TEXT NOT NULL,
    PRIMARY KEY (package_id, conflict)
) STRICT, WITHOUT ROWID;

-- kind is the number in a .stone layout record; value is the digest of a regular file or the text of a link.
CREATE TABLE layout (
    package_id TEXT NOT NULL REFERENCES package (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    path TEXT NOT NULL,
    value TEXT,
    PRIMARY KEY (package_id, position)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the number of a forgotten state is not given again.
CREATE TABLE state (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created INTEGER NOT NULL,
    summary TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;

CREATE TABLE state_selection (
    state_id INTEGER NOT NULL REFERENCES state (id) ON DELETE CASCADE,
    package_id TEXT NOT NULL REFERENCES package (id),
    explicit INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (state_id, package_id)
) STRICT, WITHOUT ROWID;
