//! The tables of the services around the farm.

/// Several Summits on one database, of which one leads; who may do what; what was done.
///
/// * `leader`: one row. `epoch` rises whenever a Summit takes over; a write that was begun under an earlier one is refused
///   (see `leader.rs`). `http` and `grpc` say where the leader is reached, `since` since when it leads.
pub(super) const SERVICES: &str = "
CREATE TABLE leader (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    http TEXT NOT NULL,
    grpc TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
INSERT INTO leader (id, epoch, http, grpc, since) VALUES (1, 0, '', '', 0);
";
