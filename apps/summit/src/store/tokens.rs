//! Tokens, and the sessions that browsers begin with them.
//!
//! Of a secret only its SHA-256 is kept. A session is worth what its token is worth at that moment: nothing, once the token is
//! revoked or has expired.

use std::collections::BTreeSet;
use std::time::Duration;

use access::token::{ID_SIZE_BYTES, SECRET_SIZE_BYTES, SecretDigest, Token, TokenId};
use access::{Actor, Scope};
use database::sqlx;
use database::{DatabaseError, DatabaseRow, During};
use farm::moment::Moment;
use fault::{Fault, Kind};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Store, StoreError, integer, json, number, optional_number, text, to_json};

/// Longest name of a token; people have to recognise it in lists.
const NAME_SIZE_BYTES_MAX: usize = 64;

/// Longest life that can be asked for: ten years. Nobody remembers a token for longer.
const LIFETIME_DAYS_MAX: u64 = 3650;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenRow {
    /// What names it: twelve hexadecimal digits.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_ms: u64,
    /// When it ends by itself; never, if none.
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
    /// When it was used last, to the minute.
    pub last_used_ms: Option<u64>,
}

/// Why there is no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Its name cannot be one.
    #[error("cannot make a token {name:?}: a name has 1 to 64 letters, digits, `-`, `_`, `.` or `@`")]
    Name {
        /// The name.
        name: String,
    },
    /// It would allow nothing.
    #[error("cannot make a token that allows nothing")]
    NoScope,
    /// Its life cannot be so long.
    #[error(
        "cannot make a token for {text:?}: a life is written as 12h, 90d or 8w, ten years at most, or `never`"
    )]
    Lifetime {
        /// What was asked for.
        text: String,
    },
    /// There is one of this name.
    #[error("cannot make a token {name:?}: there is one of this name")]
    Taken {
        /// The name.
        name: String,
    },
    /// None of this name or number can be used any more.
    #[error("cannot find a token {token:?} that is not revoked")]
    Unknown {
        /// The name or number.
        token: String,
    },
    /// The system gives no random bytes.
    #[error("cannot make a token: the system gives no randomness")]
    NoRandomness,
}

impl Fault for TokenRefusal {
    fn kind(&self) -> Kind {
        match self {
            TokenRefusal::Name { .. } | TokenRefusal::NoScope | TokenRefusal::Lifetime { .. } => Kind::Input,
            TokenRefusal::Taken { .. } => Kind::Conflict,
            TokenRefusal::Unknown { .. } => Kind::NotFound,
            TokenRefusal::NoRandomness => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            TokenRefusal::NoScope => {
                vec!["name a scope: read, operate, plan, builders, channels or admin".into()]
            }
            TokenRefusal::Taken { name } => {
                vec![format!("take another name, or revoke it first: summit token revoke {name}")]
            }
            TokenRefusal::Unknown { .. } => {
                vec!["see which there are: summit token list".into()]
            }
            TokenRefusal::Name { .. } | TokenRefusal::Lifetime { .. } | TokenRefusal::NoRandomness => {
                Vec::new()
            }
        }
    }
}

/// How long a token lives, as people write it: `12h`, `90d`, `8w`; none for `never`.
///
/// # Errors
/// When it is nothing like that, or too long.
pub fn lifetime(text: &str) -> Result<Option<Duration>, TokenRefusal> {
    if text == "never" {
        return Ok(None);
    }
    let refusal = || TokenRefusal::Lifetime { text: text.chars().take(40).collect() };
    let unit = text.chars().next_back().ok_or_else(refusal)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        _ => return Err(refusal()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| refusal())?;
    let hours = count.checked_mul(hours).filter(|hours| (1..=LIFETIME_DAYS_MAX * 24).contains(hours));
    hours.map(|hours| Some(Duration::from_secs(hours * 3600))).ok_or_else(refusal)
}

/// Random bytes for secrets.
///
/// # Errors
/// When the system gives none.
pub(crate) fn random<const COUNT: usize>() -> Result<[u8; COUNT], TokenRefusal> {
    let mut bytes = [0; COUNT];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenRefusal::NoRandomness)?;
    Ok(bytes)
}

impl TokenRow {
    /// Whoever holds it.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        let id = TokenId::parse(&self.id)?;
        Some(Actor::Token { id, name: self.name.clone(), scopes: self.scopes.clone() })
    }

    /// Whether it is worth something.
    #[must_use]
    pub fn is_valid(&self, now: Moment) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires| expires > now.0)
    }
}

fn token_row(row: &DatabaseRow) -> Result<TokenRow, DatabaseError> {
    Ok(TokenRow {
        id: text(row, "id")?,
        name: text(row, "name")?,
        scopes: json(row, "scopes")?,
        created_ms: number(row, "created")?,
        expires_ms: optional_number(row, "expires")?,
        revoked_ms: optional_number(row, "revoked")?,
        last_used_ms: optional_number(row, "last_used")?,
    })
}

impl Store {
    /// Makes a token. Its text is in what is given, and nowhere else.
    ///
    /// # Errors
    /// When it is refused, or the database fails.
    pub async fn add_token(
        &self,
        name: &str,
        scopes: &BTreeSet<Scope>,
        lifetime: Option<Duration>,
        now: Moment,
    ) -> Result<(Token, TokenRow), StoreError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty() || name.len() > NAME_SIZE_BYTES_MAX || !name.bytes().all(is_name) {
            return Err(TokenRefusal::Name { name: name.chars().take(80).collect() }.into());
        }
        if scopes.is_empty() {
            return Err(TokenRefusal::NoScope.into());
        }
        let token = Token::new(random::<ID_SIZE_BYTES>()?, random::<SECRET_SIZE_BYTES>()?);
        let expires = lifetime.map(|lifetime| now.after(lifetime));
        let mut transaction = self.database.write().await?;
        let taken = sqlx::query("SELECT id FROM token WHERE name = $1 AND revoked IS NULL")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await
            .during("look for a token")?;
        if taken.is_some() {
            return Err(TokenRefusal::Taken { name: name.to_owned() }.into());
        }
        sqlx::query(
            "INSERT INTO token (id, name, digest, scopes, created, expires) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.id().as_str())
        .bind(name)
        .bind(token.digest().to_text())
        .bind(to_json(scopes)?)
        .bind(integer(now.0))
        .bind(expires.map(|moment| integer(moment.0)))
        .execute(&mut *transaction)
        .await
        .during("make a token")?;
        transaction.commit().await.during("commit a token")?;
        let row = TokenRow {
            id: token.id().to_string(),
            name: name.to_owned(),
            scopes: scopes.clone(),
            created_ms: now.0,
            expires_ms: expires.map(|moment| moment.0),
            revoked_ms: None,
            last_used_ms: None,
        };
        Ok((token, row))
    }

    /// Every token, also those that are worth nothing any more; the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM token ORDER BY created DESC, id")
            .fetch_all(self.database.pool())
            .await
            .during("list tokens")?;
        Ok(rows.iter().map(token_row).collect::<Result<_, _>>()?)
    }

    /// Makes a token worthless from now on, with all sessions that were begun with it: by its name or id.
    ///
    /// # Errors
    /// When there is none that is worth something, or the database fails.
    pub async fn revoke_token(&self, token: &str, now: Moment) -> Result<TokenRow, StoreError> {
        let mut transaction = self.database.write().await?;
        let row = sqlx::query(
            "UPDATE token SET revoked = $1 WHERE (name = $2 OR id = $3) AND revoked IS NULL RETURNING *",
        )
        .bind(integer(now.0))
        .bind(token)
        .bind(token)
        .fetch_optional(&mut *transaction)
        .await
        .during("revoke a token")?;
        let Some(row) = row else {
            return Err(TokenRefusal::Unknown { token: token.to_owned() }.into());
        };
        let row = token_row(&row)?;
        sqlx::query("DELETE FROM session WHERE token = $1")
            .bind(&row.id)
            .execute(&mut *transaction)
            .await
            .during("end sessions")?;
        transaction.commit().await.during("commit a revocation")?;
        Ok(row)
    }

    /// Whose token this is, if it is worth something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holder(&self, token: &Token, now: Moment) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM token WHERE id = $1")
            .bind(token.id().as_str())
            .fetch_optional(self.database.pool())
            .await
            .during("find a token")?;
        let Some(row) = row else { return Ok(None) };
        let known = SecretDigest::parse(&text(&row, "digest")?);
        let row = token_row(&row)?;
        Ok((known == Some(token.digest()) && row.is_valid(now)).then_some(row))
    }

    /// Notes that a token was used.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_used(&self, id: &str, now: Moment) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("UPDATE token SET last_used = $1 WHERE id = $2")
            .bind(integer(now.0))
            .bind(id)
            .execute(&mut *transaction)
            .await
            .during("note the use of a token")?;
        transaction.commit().await.during("commit the use of a token")?;
        Ok(())
    }

    /// Begins a session of the holder of `token` and forgets those that have ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_session(
        &self,
        session: SecretDigest,
        token: &str,
        expires: Moment,
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM session WHERE expires <= $1")
            .bind(integer(now.0))
            .execute(&mut *transaction)
            .await
            .during("forget sessions")?;
        sqlx::query("INSERT INTO session (digest, token, created, expires) VALUES ($1, $2, $3, $4)")
            .bind(session.to_text())
            .bind(token)
            .bind(integer(now.0))
            .bind(integer(expires.0))
            .execute(&mut *transaction)
            .await
            .during("begin a session")?;
        transaction.commit().await.during("commit a session")?;
        Ok(())
    }

    /// Whose session this is, if it and its token are worth something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_holder(
        &self,
        session: SecretDigest,
        now: Moment,
    ) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(
            "SELECT token.* FROM token JOIN session ON session.token = token.id
             WHERE session.digest = $1 AND session.expires > $2",
        )
        .bind(session.to_text())
        .bind(integer(now.0))
        .fetch_optional(self.database.pool())
        .await
        .during("find a session")?;
        let row = row.as_ref().map(token_row).transpose()?;
        Ok(row.filter(|row| row.is_valid(now)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, session: SecretDigest) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM session WHERE digest = $1")
            .bind(session.to_text())
            .execute(&mut *transaction)
            .await
            .during("end a session")?;
        transaction.commit().await.during("commit the end of a session")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::each_database;
    use super::*;
    use access::Action;

    const NOW: Moment = Moment(1_000_000);

    #[test]
    fn lives_are_written_as_people_do() {
        for (text, expect) in [
            ("12h", Ok(Some(12 * 3600))),
            ("90d", Ok(Some(90 * 86_400))),
            ("2w", Ok(Some(14 * 86_400))),
            ("never", Ok(None)),
            ("", Err(())),
            ("d", Err(())),
            ("0d", Err(())),
            ("-3d", Err(())),
            ("4000d", Err(())),
            ("99999999999999999999d", Err(())),
            ("3 parrots é", Err(())),
        ] {
            let found = lifetime(text).map(|life| life.map(|life| life.as_secs())).map_err(drop);
            assert_eq!(found, expect, "{text}");
        }
    }

    #[tokio::test]
    async fn a_token_is_worth_something_until_it_is_revoked_or_expires() {
        each_database(async |store| {
            let scopes: BTreeSet<Scope> = [Scope::Operate, Scope::Plan].into();
            let day = Some(Duration::from_secs(86_400));
            let (token, row) = store.add_token("ci", &scopes, day, NOW).await.unwrap();
            assert_eq!(store.holder(&token, NOW).await.unwrap(), Some(row.clone()));
            // Its text is nowhere in the database.
            let tokens = store.tokens().await.unwrap();
            assert_eq!(tokens, std::slice::from_ref(&row));
            let forged = Token::parse(&format!("moraine_{}_{}", token.id(), "0".repeat(64))).unwrap();
            assert_eq!(store.holder(&forged, NOW).await.unwrap(), None);
            let later = Moment(NOW.0 + 86_400_000);
            assert_eq!(store.holder(&token, later).await.unwrap(), None, "it has expired");

            store.token_used(&row.id, Moment(NOW.0 + 5)).await.unwrap();
            assert_eq!(store.tokens().await.unwrap()[0].last_used_ms, Some(NOW.0 + 5));
            let taken = store.add_token("ci", &scopes, None, NOW).await;
            assert!(matches!(taken, Err(StoreError::Token(TokenRefusal::Taken { .. }))), "{taken:?}");

            let session = SecretDigest::of(b"cookie");
            store.begin_session(session, &row.id, later, NOW).await.unwrap();
            assert_eq!(store.session_holder(session, NOW).await.unwrap().unwrap().name, "ci");
            assert_eq!(store.session_holder(SecretDigest::of(b"other"), NOW).await.unwrap(), None);
            let revoked = store.revoke_token("ci", NOW).await.unwrap();
            assert_eq!(revoked.revoked_ms, Some(NOW.0));
            assert_eq!(store.holder(&token, NOW).await.unwrap(), None, "at once");
            assert_eq!(store.session_holder(session, NOW).await.unwrap(), None, "and with its sessions");
            assert!(store.revoke_token("ci", NOW).await.is_err());
            store.add_token("ci", &scopes, None, NOW).await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn names_and_scopes_are_checked() {
        each_database(async |store| {
            let scopes: BTreeSet<Scope> = [Scope::Read].into();
            for name in ["", "two words", "x\n", "é", &"x".repeat(65)] {
                let refused = store.add_token(name, &scopes, None, NOW).await;
                assert!(matches!(refused, Err(StoreError::Token(TokenRefusal::Name { .. }))), "{name:?}");
            }
            let refused = store.add_token("x", &BTreeSet::new(), None, NOW).await;
            assert!(matches!(refused, Err(StoreError::Token(TokenRefusal::NoScope))));
        })
        .await;
    }

    #[tokio::test]
    async fn the_trail_is_read_page_by_page() {
        each_database(async |store| {
            let actor = Actor::Forge { project: "p".into() };
            for task in 1..=5 {
                let subject = format!("task {task}");
                store
                    .note(&actor, Action::RetryTask, &subject, "ready", task == 5, Moment(task))
                    .await
                    .unwrap();
            }
            let first = store.audit(None, 3).await.unwrap();
            let subjects: Vec<&str> = first.entries.iter().map(|row| row.subject.as_str()).collect();
            assert_eq!(subjects, ["task 5", "task 4", "task 3"]);
            let newest = &first.entries[0];
            assert_eq!(
                (newest.actor_kind.as_str(), newest.actor.as_str(), newest.action.as_str(), newest.refused),
                ("forge", "p", "retry_task", true)
            );
            let second = store.audit(first.older, 3).await.unwrap();
            assert_eq!((second.entries.len(), second.older), (2, None));
        })
        .await;
    }
}
