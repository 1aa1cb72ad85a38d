//! Rebuilds that were asked for.
//!
//! A wish is kept until the repository has what it asks for, so that nothing that happens meanwhile loses it.

use std::collections::HashMap;

use database::During;
use database::sqlx;
use farm::missing::Wanted;
use farm::moment::Moment;

use super::{Store, StoreError, integer, json, number, text, to_json};

impl Store {
    /// Asks for rebuilds, by source; all or nothing. Of two wishes for one source the later build counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn want(
        &self,
        project: &str,
        architecture: &str,
        wanted: &[(String, Wanted)],
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        for (source, wanted) in wanted {
            sqlx::query(
                "INSERT INTO wanted (project, source, architecture, release, build_release, why, created)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project, source, architecture) DO UPDATE
                 SET release = excluded.release, build_release = excluded.build_release, why = excluded.why,
                     created = excluded.created
                 WHERE (excluded.release, excluded.build_release) > (wanted.release, wanted.build_release)",
            )
            .bind(project)
            .bind(source)
            .bind(architecture)
            .bind(integer(wanted.release))
            .bind(integer(wanted.build_release))
            .bind(to_json(&wanted.why)?)
            .bind(integer(now.0))
            .execute(&mut *transaction)
            .await
            .during("ask for a rebuild")?;
        }
        transaction.commit().await.during("commit wishes")?;
        Ok(())
    }

    /// The rebuilds that are asked for in an arena, by source.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wanted(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<HashMap<String, Wanted>, StoreError> {
        let rows = sqlx::query("SELECT * FROM wanted WHERE project = $1 AND architecture = $2")
            .bind(project)
            .bind(architecture)
            .fetch_all(self.database.pool())
            .await
            .during("list wishes")?;
        rows.iter()
            .map(|row| {
                let wanted = Wanted {
                    release: number(row, "release")?,
                    build_release: number(row, "build_release")?,
                    why: json(row, "why")?,
                };
                Ok((text(row, "source")?, wanted))
            })
            .collect()
    }

    /// Forgets wishes that came true: for these sources, up to these builds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fulfilled(
        &self,
        project: &str,
        architecture: &str,
        wanted: &[(String, Wanted)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        for (source, wanted) in wanted {
            sqlx::query(
                "DELETE FROM wanted WHERE project = $1 AND source = $2 AND architecture = $3
                     AND (release, build_release) <= ($4, $5)",
            )
            .bind(project)
            .bind(source)
            .bind(architecture)
            .bind(integer(wanted.release))
            .bind(integer(wanted.build_release))
            .execute(&mut *transaction)
            .await
            .during("forget a wish")?;
        }
        transaction.commit().await.during("commit what came true")?;
        Ok(())
    }
}
