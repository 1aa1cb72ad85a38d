//! Which of several Summits on one database leads; see [`crate::roles`].

use database::sqlx;
use database::{DatabaseError, DatabaseRow, During, Fence, Session};
use farm::moment::Moment;

use super::{Store, StoreError, integer, number, text};

/// Asked in every write of a leader.
const EPOCH: &str = "SELECT epoch FROM leader WHERE id = 1";

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderRow {
    /// Rises whenever a Summit takes over.
    pub epoch: u64,
    /// Address of its dashboard, with the scheme.
    pub http: String,
    /// host:port for agents.
    pub grpc: String,
    /// Since when.
    pub since: Moment,
}

impl Store {
    /// Takes over: from now on this store alone writes, beside tools that lead nothing. What an earlier leader has begun is
    /// either committed before or never.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_over(self, http: &str, grpc: &str, now: Moment) -> Result<Self, StoreError> {
        let mut write = self.database.write().await?;
        let row = sqlx::query(
            "UPDATE leader SET epoch = epoch + 1, http = $1, grpc = $2, since = $3 WHERE id = 1 RETURNING epoch",
        )
        .bind(http)
        .bind(grpc)
        .bind(integer(now.0))
        .fetch_one(&mut *write)
        .await
        .during("take over")?;
        write.commit().await.during("take over")?;
        let answer = integer(number(&row, "epoch")?);
        Ok(Self { database: self.database.fenced(Fence { question: EPOCH, answer }) })
    }
}

/// Who leads, as a standby sees it; none when nobody ever did.
///
/// # Errors
/// When the connection is lost.
pub(crate) async fn leader_seen_by(session: &mut Session) -> Result<Option<LeaderRow>, DatabaseError> {
    let exists = sqlx::query("SELECT 1 FROM information_schema.tables WHERE table_name = 'leader'");
    if session.row(exists, "look who leads").await?.is_none() {
        return Ok(None);
    }
    let row =
        session.row(sqlx::query("SELECT * FROM leader WHERE id = 1 AND epoch > 0"), "look who leads").await?;
    row.map(|row| leader_of(&row)).transpose()
}

fn leader_of(row: &DatabaseRow) -> Result<LeaderRow, DatabaseError> {
    Ok(LeaderRow {
        epoch: number(row, "epoch")?,
        http: text(row, "http")?,
        grpc: text(row, "grpc")?,
        since: Moment(number(row, "since")?),
    })
}
