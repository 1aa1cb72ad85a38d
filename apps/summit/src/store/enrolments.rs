//! One-time tokens, with which a new machine becomes a builder.
//!
//! A token says what its bearer becomes; nobody can become anything else with it, and nobody twice. Only its SHA-256 is kept:
//! whoever reads the database can enrol nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use database::During;
use database::sqlx;
use farm::ids::BuilderId;
use farm::moment::Moment;
use fault::{Fault, Kind};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::builders::{self, BuilderRefusal, BuilderSaid};
use super::{BuilderRow, Store, StoreError, integer, number, optional_number, text, to_json};

/// What every token begins with, so that people and scanners of secrets know what they found.
const PREFIX: &str = "moraine_enrol_";

/// Bytes of randomness in a token: nobody guesses one.
const SECRET_SIZE_BYTES: usize = 32;

/// Longest text that is looked at as a token.
const TOKEN_SIZE_BYTES_MAX: usize = 256;

/// A token that was not presented yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRow {
    /// Its number.
    pub id: u64,
    /// What its bearer becomes.
    pub said: BuilderSaid,
    /// Until when it can be presented.
    pub expires: Moment,
}

/// Why nobody is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolRefusal {
    /// No such token was ever made.
    #[error("cannot enrol: the token is not known here")]
    Unknown,
    /// Somebody presented it before.
    #[error("cannot enrol {name:?}: its token was used already, by the key {by}")]
    Used {
        /// What it was made for.
        name: String,
        /// Who used it.
        by: String,
    },
    /// It is too old.
    #[error("cannot enrol {name:?}: its token has expired")]
    Expired {
        /// What it was made for.
        name: String,
    },
    /// There is no randomness.
    #[error("cannot make a token: the system gives no randomness")]
    NoRandomness,
}

impl Fault for EnrolRefusal {
    fn kind(&self) -> Kind {
        match self {
            EnrolRefusal::Unknown | EnrolRefusal::Used { .. } | EnrolRefusal::Expired { .. } => Kind::Denied,
            EnrolRefusal::NoRandomness => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            EnrolRefusal::Unknown => vec!["an operator makes one with `moraine builder enrol NAME`".into()],
            EnrolRefusal::Used { name, by } => vec![format!(
                "an operator looks who that is with `moraine builder show {name}`; if nobody knows the key {by}, `moraine builder remove {name}` \
                 shuts it out at once; `moraine builder enrol` makes another token"
            )],
            EnrolRefusal::Expired { name } => {
                vec![format!("an operator makes another one with `moraine builder enrol {name}`")]
            }
            EnrolRefusal::NoRandomness => Vec::new(),
        }
    }
}

/// What is kept of a token.
fn hash(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Makes a token with which the bearer of any key becomes this builder, once, until `expires`. Returns it; it is
    /// not kept.
    ///
    /// # Errors
    /// When another builder has the name, when a word cannot be, when there is no randomness, when the database fails.
    pub async fn make_enrolment(
        &self,
        said: &BuilderSaid,
        expires: Moment,
        now: Moment,
    ) -> Result<String, StoreError> {
        said.check()?;
        let mut secret = [0; SECRET_SIZE_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| EnrolRefusal::NoRandomness)?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let mut transaction = self.database.write().await?;
        builders::check_name(&mut transaction, &said.name, "").await?;
        sqlx::query(
            "INSERT INTO enrolment (token_hash, name, labels, features, trust, size, role, made, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(hash(&token))
        .bind(&said.name)
        .bind(to_json(&said.labels)?)
        .bind(to_json(&said.features)?)
        .bind(said.trust.keyword())
        .bind(said.size.keyword())
        .bind(said.role.keyword())
        .bind(integer(now.0))
        .bind(integer(expires.0))
        .execute(&mut *transaction)
        .await
        .during("make a token for a builder")?;
        transaction.commit().await.during("make a token for a builder")?;
        Ok(token)
    }

    /// Lets the bearer of the key `id` become what its token says. The token is good for nothing afterwards, except that
    /// the same key may present it again: an agent that did not hear the answer asks once more.
    ///
    /// # Errors
    /// When the token is not known, used or expired, when the key or the name belongs to another builder, when the
    /// database fails.
    pub async fn enrol(&self, token: &str, id: &BuilderId, now: Moment) -> Result<BuilderRow, StoreError> {
        if token.len() > TOKEN_SIZE_BYTES_MAX || !token.starts_with(PREFIX) {
            return Err(EnrolRefusal::Unknown.into());
        }
        let mut transaction = self.database.write().await?;
        let row = sqlx::query("SELECT * FROM enrolment WHERE token_hash = $1")
            .bind(hash(token))
            .fetch_optional(&mut *transaction)
            .await
            .during("look for a token")?
            .ok_or(EnrolRefusal::Unknown)?;
        let said = builders::said_of(&row)?;
        let known = builders::find(&mut transaction, &id.0).await;
        if optional_number(&row, "used")?.is_some() {
            let by = text(&row, "used_by")?;
            return match known {
                Ok(known) if by == id.0 => Ok(known),
                _ => Err(EnrolRefusal::Used { name: said.name, by }.into()),
            };
        }
        if number(&row, "expires")? <= now.0 {
            return Err(EnrolRefusal::Expired { name: said.name }.into());
        }
        if let Ok(known) = known {
            let refusal =
                BuilderRefusal::KeyTaken { name: said.name, key: id.0.clone(), other: known.said.name };
            return Err(refusal.into());
        }
        builders::insert(&mut transaction, id, &said, false, now).await?;
        sqlx::query("UPDATE enrolment SET used = $1, used_by = $2 WHERE id = $3")
            .bind(integer(now.0))
            .bind(&id.0)
            .bind(integer(number(&row, "id")?))
            .execute(&mut *transaction)
            .await
            .during("use a token")?;
        let row = builders::find(&mut transaction, &id.0).await?;
        transaction.commit().await.during("enrol a builder")?;
        Ok(row)
    }

    /// Tokens that may still be presented, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrolments(&self, now: Moment) -> Result<Vec<EnrolmentRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM enrolment WHERE used IS NULL AND expires > $1 ORDER BY id")
            .bind(integer(now.0))
            .fetch_all(self.database.pool())
            .await
            .during("list tokens for builders")?;
        let enrolment = |row| {
            Ok(EnrolmentRow {
                id: number(row, "id")?,
                said: builders::said_of(row)?,
                expires: Moment(number(row, "expires")?),
            })
        };
        rows.iter().map(enrolment).collect()
    }

    /// Takes back the tokens that were made for a builder of this name and not used. Returns how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_enrolments(&self, name: &str) -> Result<u64, StoreError> {
        let statement = sqlx::query("DELETE FROM enrolment WHERE used IS NULL AND name = $1").bind(name);
        let gone = self.database.change(statement, "take back tokens for builders").await?;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BuilderRole;
    use crate::store::tests::each_database;
    use farm::schedule::Trust;

    const NOW: Moment = Moment(1_000_000);
    const LATER: Moment = Moment(2_000_000);

    fn key(name: &str) -> BuilderId {
        BuilderId(format!("key-of-{name}"))
    }

    fn said() -> BuilderSaid {
        BuilderSaid {
            trust: Trust::Official,
            features: ["kvm".to_owned()].into(),
            ..BuilderSaid::named("ada")
        }
    }

    #[tokio::test]
    async fn row_s5_a_token_makes_its_bearer_what_the_operator_said_and_nobody_twice() {
        each_database(async |store| {
            let token = store.make_enrolment(&said(), LATER, NOW).await.unwrap();
            assert_eq!(store.enrolments(NOW).await.unwrap().len(), 1);
            let row = store.enrol(&token, &key("ada"), NOW).await.unwrap();
            assert_eq!((row.said.clone(), row.said.role), (said(), BuilderRole::Builder));
            assert!(store.enrolments(NOW).await.unwrap().is_empty());
            store.enrol(&token, &key("ada"), NOW).await.unwrap();
            let refused = store.enrol(&token, &key("eve"), NOW).await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "cannot enrol \"ada\": its token was used already, by the key key-of-ada"
            );
            store.remove_builder("ada", NOW).await.unwrap();
            store.enrol(&token, &key("ada"), NOW).await.unwrap_err();
            let rows = sqlx::query("SELECT token_hash FROM enrolment")
                .fetch_all(store.database.pool())
                .await
                .unwrap();
            assert_eq!(text(&rows[0], "token_hash").unwrap(), hash(&token), "only its hash is kept");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_no_token_or_too_old_enrols_nobody() {
        each_database(async |store| {
            let token = store.make_enrolment(&said(), LATER, NOW).await.unwrap();
            for wrong in
                ["", "moraine_enrol_", "moraine_enrol_AAAA", &token[..token.len() - 1], &"x".repeat(9999)]
            {
                let refused = store.enrol(wrong, &key("eve"), NOW).await;
                assert!(matches!(refused, Err(StoreError::Enrol(EnrolRefusal::Unknown))), "{refused:?}");
            }
            let refused = store.enrol(&token, &key("eve"), LATER).await;
            assert!(matches!(refused, Err(StoreError::Enrol(EnrolRefusal::Expired { .. }))), "{refused:?}");
            assert!(store.builders().await.unwrap().is_empty());
            assert_eq!(store.forget_enrolments("ada").await.unwrap(), 1);
            let refused = store.enrol(&token, &key("eve"), NOW).await;
            assert!(matches!(refused, Err(StoreError::Enrol(EnrolRefusal::Unknown))), "{refused:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_key_that_builds_already_is_enrolled_as_nothing_else() {
        each_database(async |store| {
            store.add_builder(&key("bob"), &BuilderSaid::named("bob"), false, NOW).await.unwrap();
            let token = store.make_enrolment(&said(), LATER, NOW).await.unwrap();
            let refused = store.enrol(&token, &key("bob"), NOW).await;
            assert!(
                matches!(refused, Err(StoreError::Builder(BuilderRefusal::KeyTaken { .. }))),
                "{refused:?}"
            );
            let row = store.enrol(&token, &key("ada"), NOW).await.unwrap();
            assert_eq!(row.said.name, "ada", "the token is still good for another key");
            let taken = store.make_enrolment(&said(), LATER, NOW).await;
            assert!(matches!(taken, Err(StoreError::Builder(BuilderRefusal::NameTaken { .. }))), "{taken:?}");
        })
        .await;
    }
}
