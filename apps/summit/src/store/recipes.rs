//! What was found at the last commit.

use std::collections::HashSet;

use database::During;
use database::sqlx::{self, Row};
use farm::catalogue::{Catalogue, Unreadable};

use super::{Store, StoreError, integer, number, to_json};

/// A recipe that can be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecipeRow {
    /// The project.
    pub project: String,
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
    /// The project.
    pub project: String,
    /// Path of the file.
    pub path: String,
    /// Line, from 1; 0 for the whole file.
    pub line: u64,
    /// Column, from 1; 0 for the whole line.
    pub column: u64,
    /// What is wrong; further problems follow in lines of their own.
    pub message: String,
}

/// What was found at the last commit of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecipeSummary {
    /// The project.
    pub project: String,
    /// The commit.
    pub commit: Option<String>,
    /// Recipes by path.
    pub recipes: Vec<RecipeRow>,
    /// Files that are no recipes, by path.
    pub unreadable: Vec<UnreadableRow>,
}

impl Store {
    /// Replaces what was found before in a project. `left_out` are recipes of the catalogue's own that are not used.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn found_recipes(
        &self,
        project: &str,
        commit: &str,
        catalogue: &Catalogue,
        left_out: &[Unreadable],
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.write().await?;
        sqlx::query("DELETE FROM recipe WHERE project = ?")
            .bind(project)
            .execute(&mut *transaction)
            .await
            .during("forget recipes")?;
        for entry in catalogue.recipes() {
            sqlx::query(
                "INSERT INTO recipe (project, path, source, version, release) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(project)
            .bind(&entry.path)
            .bind(&entry.source)
            .bind(&entry.version)
            .bind(integer(entry.release))
            .execute(&mut *transaction)
            .await
            .during("note a recipe")?;
        }
        for file in catalogue.unreadable().iter().chain(left_out) {
            sqlx::query(
                "INSERT INTO recipe (project, path, line, column_number, message) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (project, path) DO UPDATE SET message = recipe.message || char(10) || excluded.message",
            )
            .bind(project)
            .bind(&file.path)
            .bind(file.line)
            .bind(file.column)
            .bind(&file.message)
            .execute(&mut *transaction)
            .await
            .during("note an unreadable recipe")?;
        }
        sqlx::query(
            "INSERT INTO project (name, git_commit) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET git_commit = excluded.git_commit",
        )
        .bind(project)
        .bind(commit)
        .execute(&mut *transaction)
        .await
        .during("note the commit")?;
        transaction.commit().await.during("commit what was found")?;
        Ok(())
    }

    /// What was found at the last commit of a project that was read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipes(&self, project: &str) -> Result<RecipeSummary, StoreError> {
        let commit = sqlx::query("SELECT git_commit FROM project WHERE name = ?")
            .bind(project)
            .fetch_optional(self.database.pool())
            .await
            .during("read the commit")?;
        let rows = sqlx::query("SELECT * FROM recipe WHERE project = ? ORDER BY path")
            .bind(project)
            .fetch_all(self.database.pool())
            .await
            .during("list recipes")?;
        let mut summary = RecipeSummary {
            project: project.to_owned(),
            commit: commit.map(|row| row.try_get("git_commit")).transpose().during("read the commit")?,
            ..RecipeSummary::default()
        };
        for row in &rows {
            let path: String = row.try_get("path").during("read a recipe")?;
            let message: Option<String> = row.try_get("message").during("read a recipe")?;
            match message {
                Some(message) => summary.unreadable.push(UnreadableRow {
                    project: project.to_owned(),
                    path,
                    line: number(row, "line")?,
                    column: number(row, "column_number")?,
                    message,
                }),
                None => summary.recipes.push(RecipeRow {
                    project: project.to_owned(),
                    path,
                    source: row.try_get("source").during("read a recipe")?,
                    version: row.try_get("version").during("read a recipe")?,
                    release: number(row, "release")?,
                }),
            }
        }
        Ok(summary)
    }

    /// The sources whose recipes `project` had at the last commit that was read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sources(&self, project: &str) -> Result<HashSet<String>, StoreError> {
        let rows = sqlx::query("SELECT source FROM recipe WHERE project = ? AND source IS NOT NULL")
            .bind(project)
            .fetch_all(self.database.pool())
            .await
            .during("list sources")?;
        rows.iter().map(|row| Ok(row.try_get("source").during("read a recipe")?)).collect()
    }

    /// Forgets the recipes of every project but these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_projects(&self, names: &[String]) -> Result<(), StoreError> {
        let names = to_json(&names)?;
        let mut transaction = self.database.write().await?;
        for (sql, what) in [
            ("DELETE FROM recipe WHERE project NOT IN (SELECT value FROM json_each(?))", "forget recipes"),
            ("DELETE FROM project WHERE name NOT IN (SELECT value FROM json_each(?))", "forget projects"),
            ("DELETE FROM wanted WHERE project NOT IN (SELECT value FROM json_each(?))", "forget wishes"),
        ] {
            sqlx::query(sql).bind(&names).execute(&mut *transaction).await.during(what)?;
        }
        transaction.commit().await.during("forget projects")?;
        Ok(())
    }
}
