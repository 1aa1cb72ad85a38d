//! What was found at the last commit.

use database::During;
use database::sqlx::{self, Row};
use farm::catalogue::Catalogue;

use super::{Store, StoreError, integer, number};

/// A recipe that can be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecipeRow {
    /// Path of the file.
    pub path: String,
    /// Source name.
    pub source: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: u64,
}

/// A recipe that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UnreadableRow {
    /// Path of the file.
    pub path: String,
    /// Line, from 1; 0 for the whole file.
    pub line: u64,
    /// Column, from 1; 0 for the whole line.
    pub column: u64,
    /// What is wrong; further problems follow in lines of their own.
    pub message: String,
}

/// What was found at the last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecipeSummary {
    /// The commit.
    pub commit: Option<String>,
    /// Recipes by path.
    pub recipes: Vec<RecipeRow>,
    /// Files that are no recipes, by path.
    pub unreadable: Vec<UnreadableRow>,
}

/// Name of the setting that holds the commit which was read last.
const COMMIT: &str = "commit";

impl Store {
    /// Replaces what was found before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn found_recipes(&self, commit: &str, catalogue: &Catalogue) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM recipe").execute(&mut *transaction).await.during("forget recipes")?;
        for entry in catalogue.recipes() {
            sqlx::query("INSERT INTO recipe (path, source, version, release) VALUES (?, ?, ?, ?)")
                .bind(&entry.path)
                .bind(&entry.source)
                .bind(&entry.version)
                .bind(integer(entry.release))
                .execute(&mut *transaction)
                .await
                .during("note a recipe")?;
        }
        for file in catalogue.unreadable() {
            sqlx::query(
                "INSERT INTO recipe (path, line, column_number, message) VALUES (?, ?, ?, ?)
                 ON CONFLICT (path) DO UPDATE SET message = recipe.message || char(10) || excluded.message",
            )
            .bind(&file.path)
            .bind(file.line)
            .bind(file.column)
            .bind(&file.message)
            .execute(&mut *transaction)
            .await
            .during("note an unreadable recipe")?;
        }
        sqlx::query(
            "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(COMMIT)
        .bind(commit)
        .execute(&mut *transaction)
        .await
        .during("note the commit")?;
        transaction.commit().await.during("commit what was found")?;
        Ok(())
    }

    /// What was found at the last commit that was read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipes(&self) -> Result<RecipeSummary, StoreError> {
        let commit = sqlx::query("SELECT value FROM setting WHERE name = ?")
            .bind(COMMIT)
            .fetch_optional(self.database.pool())
            .await
            .during("read the commit")?;
        let rows = sqlx::query("SELECT * FROM recipe ORDER BY path")
            .fetch_all(self.database.pool())
            .await
            .during("list recipes")?;
        let mut summary = RecipeSummary {
            commit: commit.map(|row| row.try_get("value")).transpose().during("read the commit")?,
            ..RecipeSummary::default()
        };
        for row in &rows {
            let path: String = row.try_get("path").during("read a recipe")?;
            let message: Option<String> = row.try_get("message").during("read a recipe")?;
            match message {
                Some(message) => summary.unreadable.push(UnreadableRow {
                    path,
                    line: number(row, "line")?,
                    column: number(row, "column_number")?,
                    message,
                }),
                None => summary.recipes.push(RecipeRow {
                    path,
                    source: row.try_get("source").during("read a recipe")?,
                    version: row.try_get("version").during("read a recipe")?,
                    release: number(row, "release")?,
                }),
            }
        }
        Ok(summary)
    }
}
