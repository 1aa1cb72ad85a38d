//! The database: which histories there are, where streams point, who may upload what.
//!
//! The only module with SQL. A landing is one transaction that ends with a compare-and-swap of the stream; rows become
//! domain values here and nowhere else. Nothing here touches files.

use std::collections::BTreeMap;
use std::path::Path;

use database::sqlx::{self, Row};
use database::{
    Database, DatabaseConnection, DatabaseError, DatabaseRow, During, Migration, WriteTransaction,
};

mod builds;
mod formats;
mod releases;
mod signing;
mod versions;

pub(crate) use builds::DebugPlace;
pub(crate) use formats::FormatUpgrade;
pub(crate) use releases::{Release, ReleaseFile};
pub(crate) use signing::SignedRow;
pub(crate) use versions::{Movement, PlaceKey, Pointee};

use repository::Format;
use store::Sha256;

use crate::builds::{BuildFile, DebugFile};
use crate::expectation::{Artefact, ArtefactKind, Expectation, Origin};

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "ledger", sql: include_str!("../migrations/0001_ledger.sql") },
    Migration { number: 2, name: "output", sql: include_str!("../migrations/0002_output.sql") },
    Migration { number: 3, name: "versions", sql: include_str!("../migrations/0003_versions.sql") },
    Migration { number: 4, name: "formats", sql: include_str!("../migrations/0004_formats.sql") },
    Migration { number: 5, name: "signing", sql: include_str!("../migrations/0005_signing.sql") },
    Migration { number: 6, name: "artefacts", sql: include_str!("../migrations/0006_artefacts.sql") },
];

/// The stream that follows every landing.
pub(crate) const VOLATILE: &str = "volatile";

/// One immutable version of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) number: u64,
    pub(crate) id: String,
    /// The history that it was made from.
    pub(crate) previous: Option<u64>,
    pub(crate) packages: u64,
    /// Unix seconds.
    pub(crate) recorded_at: i64,
    /// Why it came about.
    pub(crate) cause: String,
    /// Unix seconds; none while the root index names it.
    pub(crate) given_up_at: Option<i64>,
    pub(crate) format: Format,
}

/// A package that came into a history (with its bytes) or left it (without).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) object: Option<PublishedObject>,
}

/// Bytes under a path below the channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublishedObject {
    pub(crate) sha256: Sha256,
    pub(crate) pool_path: String,
}

/// A history that is about to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct NewHistory {
    pub(crate) channel: String,
    /// The stream that moves to it.
    pub(crate) stream: String,
    pub(crate) number: u64,
    pub(crate) id: String,
    /// Where the stream is now.
    pub(crate) previous: Option<u64>,
    pub(crate) recorded_at: i64,
    pub(crate) cause: String,
    pub(crate) packages: usize,
    pub(crate) changes: Vec<Change>,
    /// What else belongs to the builds that land.
    pub(crate) builds: Vec<BuildFile>,
    /// The debug information in the packages that arrive.
    pub(crate) debug: Vec<DebugFile>,
    /// Whether this is the first history in which everything finds what it needs.
    pub(crate) closes: bool,
    /// The attempts that land with it; none when an operator brought it.
    pub(crate) attempts: Vec<LandingAttempt>,
    /// What to look at.
    pub(crate) remarks: String,
    /// Whether it is the first of its format; otherwise it has that of the history before.
    pub(crate) upgrade: Option<FormatUpgrade>,
    /// The signed pointers that lead to it, by `stream/NAME`. Their versions were given before.
    pub(crate) signed: BTreeMap<String, String>,
}

/// An attempt that is about to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LandingAttempt {
    pub(crate) attempt_id: u64,
    /// What it yielded, by [`crate::output::output_digest`].
    pub(crate) output: Sha256,
}

/// Where an attempt is. Whether bytes have arrived is a matter of the staging folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttemptState {
    Expected,
    /// Everything is here and in order, and waits for what it needs.
    Held {
        reason: String,
    },
    Landed {
        history: String,
        remarks: String,
        output: Option<Sha256>,
    },
    Refused {
        reason: String,
    },
}

/// An attempt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) expectation: Expectation,
    pub(crate) state: AttemptState,
}

/// What became of recording a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is the truth now.
    Done,
    /// The stream is not where it was thought to be; nothing was recorded.
    StreamMoved,
}

/// The open database.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    database: Database,
}

impl Ledger {
    pub(crate) async fn open(path: &Path) -> Result<Self, DatabaseError> {
        Ok(Self { database: Database::open(path, MIGRATIONS).await? })
    }

    pub(crate) async fn close(&self) {
        self.database.close().await;
    }

    /// Every channel that has a history.
    pub(crate) async fn channels(&self) -> Result<Vec<String>, DatabaseError> {
        let rows = sqlx::query("SELECT DISTINCT channel FROM history ORDER BY channel");
        let rows = rows.fetch_all(self.database.pool()).await.during("list channels")?;
        rows.iter().map(|row| row.try_get(0).during("list channels")).collect()
    }

    /// All histories of a channel whose files are there, newest first.
    pub(crate) async fn histories(&self, channel: &str) -> Result<Vec<History>, DatabaseError> {
        let query = sqlx::query(
            "SELECT number, id, previous, packages, recorded_at, cause, given_up_at, format FROM history
             WHERE channel = ? AND removed_at IS NULL ORDER BY number DESC",
        );
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list histories")?;
        rows.iter().map(history).collect()
    }

    /// Where the streams of a channel point, by name.
    pub(crate) async fn streams(&self, channel: &str) -> Result<BTreeMap<String, u64>, DatabaseError> {
        let query = sqlx::query("SELECT name, history FROM stream WHERE channel = ?");
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list streams")?;
        rows.iter().map(|row| Ok((row.try_get(0).during("list streams")?, number(row, "history")?))).collect()
    }

    /// Which bytes were ever published under these paths; paths that never were are left out.
    pub(crate) async fn published<'a>(
        &self,
        channel: &str,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Sha256>, DatabaseError> {
        let mut found = BTreeMap::new();
        let mut connection = self.database.pool().acquire().await.during("look up objects")?;
        for path in paths {
            let query = sqlx::query("SELECT sha256 FROM change WHERE channel = ? AND pool_path = ? LIMIT 1");
            let row = query.bind(channel).bind(path).fetch_optional(&mut *connection).await;
            if let Some(row) = row.during("look up objects")? {
                found.insert(path.to_owned(), digest(&row)?);
            }
        }
        Ok(found)
    }

    /// Records a history, moves the stream from `previous` to it, and marks its attempt as landed: all or nothing.
    pub(crate) async fn record(&self, new: &NewHistory) -> Result<Recorded, DatabaseError> {
        const ACTION: &str = "record a history";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "INSERT INTO history (channel, number, id, previous, recorded_at, packages, attempt_id, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        );
        let inserted = query
            .bind(&new.channel)
            .bind(column(new.number))
            .bind(&new.id)
            .bind(new.previous.map(column))
            .bind(new.recorded_at)
            .bind(i64::try_from(new.packages).unwrap_or(i64::MAX))
            .bind(new.attempts.first().map(|attempt| column(attempt.attempt_id)))
            .bind(&new.cause)
            .execute(&mut *write)
            .await;
        inserted.during(ACTION)?;
        for change in &new.changes {
            let query = sqlx::query(
                "INSERT INTO change (channel, history, name, architecture, sha256, pool_path) VALUES (?, ?, ?, ?, ?, ?)",
            );
            let object = change.object.as_ref();
            let inserted = query
                .bind(&new.channel)
                .bind(column(new.number))
                .bind(&change.name)
                .bind(&change.architecture)
                .bind(object.map(|object| object.sha256.to_string()))
                .bind(object.map(|object| object.pool_path.as_str()))
                .execute(&mut *write)
                .await;
            inserted.during(ACTION)?;
        }
        builds::insert(&mut write, &new.channel, new.number, &new.builds, &new.debug).await?;
        if new.closes {
            builds::close(&mut write, &new.channel, new.number).await?;
        }
        if !swap_stream(&mut write, new).await? || !formats::note_format(&mut write, new).await? {
            return Ok(Recorded::StreamMoved);
        }
        for attempt in &new.attempts {
            mark_landed(&mut write, *attempt, new.number, &new.remarks).await?;
        }
        signing::keep(&mut write, &new.channel, &new.signed).await?;
        write.commit().await.during(ACTION)?;
        Ok(Recorded::Done)
    }

    /// Marks an attempt as landed in a history that has it already.
    pub(crate) async fn land_unchanged(
        &self,
        attempt: LandingAttempt,
        history: u64,
    ) -> Result<(), DatabaseError> {
        let mut write = self.database.write().await?;
        mark_landed(&mut write, attempt, history, "everything was published before").await?;
        write.commit().await.during("land an attempt")
    }

    /// Ends an attempt that can never land.
    pub(crate) async fn refuse(&self, attempt_id: u64, reason: &str) -> Result<(), DatabaseError> {
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "UPDATE attempt SET state = 'refused', held = NULL, reason = ? WHERE attempt_id = ? AND state = 'expected'",
        );
        query.bind(reason).bind(column(attempt_id)).execute(&mut *write).await.during("refuse an attempt")?;
        write.commit().await.during("refuse an attempt")
    }

    /// Keeps an expectation. False when the attempt is known already; nothing is changed then.
    pub(crate) async fn expect(&self, order: &Expectation, now: i64) -> Result<bool, DatabaseError> {
        const ACTION: &str = "store an expectation";
        let mut write = self.database.write().await?;
        let query = sqlx::query(
            "INSERT INTO attempt (attempt_id, task_id, channel, source, version, release, build_release, architecture,
                                  builder_key, state, reason, expected_at, recipe_repository, recipe_commit, recipe_path,
                                  builder_name, may_land_unmet)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'expected', '', ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt_id) DO NOTHING",
        );
        let inserted = query
            .bind(column(order.attempt_id))
            .bind(column(order.task_id))
            .bind(&order.channel)
            .bind(&order.source)
            .bind(&order.version)
            .bind(column(order.release))
            .bind(column(order.build_release))
            .bind(&order.architecture)
            .bind(order.builder.to_string())
            .bind(now)
            .bind(&order.origin.repository)
            .bind(&order.origin.commit)
            .bind(&order.origin.recipe_path)
            .bind(&order.origin.builder_name)
            .bind(i64::from(order.may_land_unmet))
            .execute(&mut *write)
            .await;
        if inserted.during(ACTION)?.rows_affected() == 0 {
            return Ok(false);
        }
        for artefact in &order.artefacts {
            let query = sqlx::query(
                "INSERT INTO artefact (attempt_id, name, kind, size_bytes, sha256) VALUES (?, ?, ?, ?, ?)",
            );
            let inserted = query
                .bind(column(order.attempt_id))
                .bind(&artefact.name)
                .bind(word(artefact.kind))
                .bind(column(artefact.size_bytes))
                .bind(artefact.sha256.to_string())
                .execute(&mut *write)
                .await;
            inserted.during(ACTION)?;
        }
        write.commit().await.during(ACTION)?;
        Ok(true)
    }

    /// Notes what an attempt waits for, or that it waits for nothing any more. False when it is not expected.
    pub(crate) async fn hold(&self, attempt_id: u64, reason: Option<&str>) -> Result<bool, DatabaseError> {
        const ACTION: &str = "hold an attempt back";
        let mut write = self.database.write().await?;
        let query = sqlx::query("UPDATE attempt SET held = ? WHERE attempt_id = ? AND state = 'expected'");
        let updated =
            query.bind(reason).bind(column(attempt_id)).execute(&mut *write).await.during(ACTION)?;
        write.commit().await.during(ACTION)?;
        Ok(updated.rows_affected() == 1)
    }

    /// Attempts of a channel that wait for what they need, in the order in which they were announced.
    pub(crate) async fn held_attempts(&self, channel: &str) -> Result<Vec<u64>, DatabaseError> {
        let query = sqlx::query(
            "SELECT attempt_id FROM attempt WHERE channel = ? AND state = 'expected' AND held IS NOT NULL ORDER BY attempt_id",
        );
        let rows = query.bind(channel).fetch_all(self.database.pool()).await.during("list held attempts")?;
        rows.iter().map(|row| number(row, "attempt_id")).collect()
    }

    /// Forgets an attempt that has not landed. False when there is none, or when it has landed.
    pub(crate) async fn withdraw(&self, attempt_id: u64) -> Result<bool, DatabaseError> {
        let mut write = self.database.write().await?;
        let query = sqlx::query("DELETE FROM attempt WHERE attempt_id = ? AND state <> 'landed'");
        let deleted =
            query.bind(column(attempt_id)).execute(&mut *write).await.during("withdraw an attempt")?;
        write.commit().await.during("withdraw an attempt")?;
        Ok(deleted.rows_affected() > 0)
    }

    /// An attempt with everything that is known of it.
    pub(crate) async fn attempt(&self, attempt_id: u64) -> Result<Option<Attempt>, DatabaseError> {
        const ACTION: &str = "look up an attempt";
        let Ok(key) = i64::try_from(attempt_id) else { return Ok(None) };
        let query = sqlx::query(
            "SELECT attempt.*, history.id AS history_id FROM attempt
             LEFT JOIN history ON history.channel = attempt.channel AND history.number = attempt.history
             WHERE attempt.attempt_id = ?",
        );
        let Some(row) = query.bind(key).fetch_optional(self.database.pool()).await.during(ACTION)? else {
            return Ok(None);
        };
        let query = sqlx::query("SELECT * FROM artefact WHERE attempt_id = ? ORDER BY name");
        let artefacts = query.bind(key).fetch_all(self.database.pool()).await.during(ACTION)?;
        attempt(&row, &artefacts).map(Some)
    }

    /// Attempts that may still bring something.
    pub(crate) async fn open_attempts(&self) -> Result<Vec<u64>, DatabaseError> {
        let query = sqlx::query("SELECT attempt_id FROM attempt WHERE state = 'expected'");
        let rows = query.fetch_all(self.database.pool()).await.during("list attempts")?;
        rows.iter().map(|row| number(row, "attempt_id")).collect()
    }

    /// Every builder that was ever named; they may ask again what became of their attempts.
    pub(crate) async fn builders(&self) -> Result<Vec<String>, DatabaseError> {
        let query = sqlx::query("SELECT DISTINCT builder_key FROM attempt");
        let rows = query.fetch_all(self.database.pool()).await.during("list builders")?;
        rows.iter().map(|row| text(row, "builder_key")).collect()
    }
}

/// The compare-and-swap: the stream goes to the new history only from the one that the landing was decided on.
async fn swap_stream(write: &mut WriteTransaction, new: &NewHistory) -> Result<bool, DatabaseError> {
    let pointee = Pointee { channel: &new.channel, kind: "stream", name: &new.stream };
    versions::swap(write, pointee, new.previous, Some(new.number)).await
}

async fn mark_landed(
    write: &mut DatabaseConnection,
    attempt: LandingAttempt,
    history: u64,
    remarks: &str,
) -> Result<(), DatabaseError> {
    let LandingAttempt { attempt_id, output } = attempt;
    let query = sqlx::query(
        "UPDATE attempt SET state = 'landed', held = NULL, history = ?, reason = ?, output = ? WHERE attempt_id = ?",
    );
    let query = query.bind(column(history)).bind(remarks).bind(output.to_string()).bind(column(attempt_id));
    let updated = query.execute(write).await;
    if updated.during("land an attempt")?.rows_affected() == 1 {
        return Ok(());
    }
    Err(DatabaseError::Damaged {
        what: format!("attempt {attempt_id}"),
        why: "it vanished while it landed".into(),
    })
}

fn attempt(row: &DatabaseRow, artefacts: &[DatabaseRow]) -> Result<Attempt, DatabaseError> {
    let attempt_id = number(row, "attempt_id")?;
    let damaged = |why: String| DatabaseError::Damaged { what: format!("attempt {attempt_id}"), why };
    let reason = text(row, "reason")?;
    let state = match text(row, "state")?.as_str() {
        "expected" => {
            match row.try_get::<Option<String>, _>("held").during("read what an attempt waits for")? {
                Some(reason) => AttemptState::Held { reason },
                None => AttemptState::Expected,
            }
        }
        "landed" => {
            let output = text(row, "output")?.parse().ok();
            AttemptState::Landed { history: text(row, "history_id")?, remarks: reason, output }
        }
        "refused" => AttemptState::Refused { reason },
        other => return Err(damaged(format!("state {other:?}"))),
    };
    let artefacts: Result<Vec<Artefact>, DatabaseError> = artefacts.iter().map(artefact).collect();
    let expectation = Expectation {
        task_id: number(row, "task_id")?,
        attempt_id,
        channel: text(row, "channel")?,
        source: text(row, "source")?,
        version: text(row, "version")?,
        release: number(row, "release")?,
        build_release: number(row, "build_release")?,
        architecture: text(row, "architecture")?,
        builder: text(row, "builder_key")?
            .parse()
            .map_err(|error: wire::PublicKeyError| damaged(error.to_string()))?,
        artefacts: artefacts?,
        origin: Origin {
            repository: text(row, "recipe_repository")?,
            commit: text(row, "recipe_commit")?,
            recipe_path: text(row, "recipe_path")?,
            builder_name: text(row, "builder_name")?,
        },
        may_land_unmet: number(row, "may_land_unmet")? != 0,
    };
    Ok(Attempt { expectation, state })
}

fn artefact(row: &DatabaseRow) -> Result<Artefact, DatabaseError> {
    let name = text(row, "name")?;
    let kind = text(row, "kind")?;
    let kind = KINDS.into_iter().find(|(_, word)| *word == kind).map(|(kind, _)| kind);
    let kind = kind
        .ok_or_else(|| DatabaseError::Damaged { what: format!("artefact {name}"), why: "its kind".into() })?;
    Ok(Artefact { kind, name, size_bytes: number(row, "size_bytes")?, sha256: digest(row)? })
}

fn history(row: &DatabaseRow) -> Result<History, DatabaseError> {
    Ok(History {
        number: number(row, "number")?,
        id: text(row, "id")?,
        previous: optional_number(row, "previous")?,
        packages: number(row, "packages")?,
        recorded_at: row.try_get("recorded_at").during("read recorded_at")?,
        cause: text(row, "cause")?,
        given_up_at: row.try_get("given_up_at").during("read given_up_at")?,
        format: Format::from_name(&text(row, "format")?),
    })
}

const KINDS: [(ArtefactKind, &str); 4] = [
    (ArtefactKind::Package, "package"),
    (ArtefactKind::ManifestBinary, "manifest-binary"),
    (ArtefactKind::ManifestJson, "manifest-json"),
    (ArtefactKind::Record, "record"),
];

fn word(kind: ArtefactKind) -> &'static str {
    KINDS.into_iter().find(|(candidate, _)| *candidate == kind).map_or("record", |(_, word)| word)
}

/// Ids and sizes are checked against the columns when they come in, so nothing is ever cut off here.
fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &DatabaseRow, name: &'static str) -> Result<u64, DatabaseError> {
    let value: i64 = row.try_get(name).during("read a number")?;
    u64::try_from(value).map_err(|_| DatabaseError::Damaged { what: name.into(), why: format!("{value}") })
}

fn optional_number(row: &DatabaseRow, name: &'static str) -> Result<Option<u64>, DatabaseError> {
    let value: Option<i64> = row.try_get(name).during("read a number")?;
    let damaged = |value: i64| DatabaseError::Damaged { what: name.into(), why: format!("{value}") };
    value.map(|value| u64::try_from(value).map_err(|_| damaged(value))).transpose()
}

fn text(row: &DatabaseRow, name: &'static str) -> Result<String, DatabaseError> {
    row.try_get(name).during("read a text")
}

fn digest(row: &DatabaseRow) -> Result<Sha256, DatabaseError> {
    let value = text(row, "sha256")?;
    value.parse().map_err(|_| DatabaseError::Damaged { what: "a digest".into(), why: value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::tests::order;

    async fn fixture() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("vessel.db")).await.unwrap();
        (folder, ledger)
    }

    fn landing(attempt_id: u64) -> LandingAttempt {
        LandingAttempt { attempt_id, output: Sha256::of(b"what it yielded") }
    }

    fn new(number: u64, previous: Option<u64>, attempt: Option<u64>) -> NewHistory {
        let object =
            PublishedObject { sha256: Sha256::of(b"nano"), pool_path: format!("pool/{number}.stone") };
        NewHistory {
            stream: VOLATILE.to_owned(),
            cause: "import".into(),
            channel: "main".into(),
            number,
            id: format!("{number}-aaaa"),
            previous,
            recorded_at: 5,
            packages: 1,
            changes: vec![
                Change { name: "nano".into(), architecture: "x86_64".into(), object: Some(object) },
                Change { name: "pico".into(), architecture: "x86_64".into(), object: None },
            ],
            builds: Vec::new(),
            debug: Vec::new(),
            closes: true,
            attempts: attempt.map(landing).into_iter().collect(),
            remarks: "fine".to_owned(),
            upgrade: None,
            signed: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn an_expectation_comes_back_as_it_went_in_and_only_once() {
        let (_folder, ledger) = fixture().await;
        let order = order().checked().unwrap();
        assert!(ledger.expect(&order, 1).await.unwrap());
        assert!(!ledger.expect(&order, 2).await.unwrap());
        let kept = ledger.attempt(7).await.unwrap().unwrap();
        assert_eq!(kept, Attempt { expectation: order.clone(), state: AttemptState::Expected });
        assert_eq!(ledger.open_attempts().await.unwrap(), [7]);
        assert_eq!(ledger.builders().await.unwrap(), [order.builder.to_string()]);
        assert_eq!(ledger.attempt(8).await.unwrap(), None);
        assert_eq!(ledger.attempt(u64::MAX).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_history_is_recorded_with_its_attempt_or_not_at_all() {
        let (_folder, ledger) = fixture().await;
        ledger.expect(&order().checked().unwrap(), 1).await.unwrap();
        assert_eq!(ledger.record(&new(1, None, None)).await.unwrap(), Recorded::Done);
        // Decided on a snapshot that is no longer the current one.
        assert_eq!(ledger.record(&new(2, None, Some(7))).await.unwrap(), Recorded::StreamMoved);
        assert_eq!(ledger.histories("main").await.unwrap().len(), 1);
        assert_eq!(ledger.attempt(7).await.unwrap().unwrap().state, AttemptState::Expected);
        // An attempt that does not exist cannot land.
        ledger.record(&new(2, Some(1), Some(8))).await.unwrap_err();
        assert_eq!(ledger.streams("main").await.unwrap(), BTreeMap::from([(VOLATILE.to_owned(), 1)]));

        assert_eq!(ledger.record(&new(2, Some(1), Some(7))).await.unwrap(), Recorded::Done);
        let output = Some(landing(7).output);
        let landed = AttemptState::Landed { history: "2-aaaa".into(), remarks: "fine".into(), output };
        assert_eq!(ledger.attempt(7).await.unwrap().unwrap().state, landed);
        let ids: Vec<_> =
            ledger.histories("main").await.unwrap().into_iter().map(|history| history.id).collect();
        assert_eq!(ids, ["2-aaaa", "1-aaaa"]);
        assert_eq!(ledger.channels().await.unwrap(), ["main"]);
        let published = ledger.published("main", ["pool/1.stone", "pool/9.stone"].into_iter()).await.unwrap();
        assert_eq!(published, BTreeMap::from([("pool/1.stone".to_owned(), Sha256::of(b"nano"))]));
        let contents = ledger.contents("main").await.unwrap();
        assert_eq!(repository::retention::held(&contents, &[2].into()).len(), 1);
    }

    #[tokio::test]
    async fn what_has_landed_is_neither_withdrawn_nor_refused() {
        let (_folder, ledger) = fixture().await;
        ledger.expect(&order().checked().unwrap(), 1).await.unwrap();
        ledger.record(&new(1, None, Some(7))).await.unwrap();
        assert!(!ledger.withdraw(7).await.unwrap());
        ledger.refuse(7, "late").await.unwrap();
        assert!(matches!(ledger.attempt(7).await.unwrap().unwrap().state, AttemptState::Landed { .. }));
    }

    #[tokio::test]
    async fn a_refusal_is_kept_and_can_be_withdrawn() {
        let (_folder, ledger) = fixture().await;
        ledger.expect(&order().checked().unwrap(), 1).await.unwrap();
        ledger.refuse(7, "not ordered").await.unwrap();
        let refused = AttemptState::Refused { reason: "not ordered".into() };
        assert_eq!(ledger.attempt(7).await.unwrap().unwrap().state, refused);
        assert!(ledger.open_attempts().await.unwrap().is_empty());
        assert!(ledger.withdraw(7).await.unwrap());
        assert_eq!(ledger.attempt(7).await.unwrap(), None);
    }
}
