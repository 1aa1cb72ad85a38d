//! What was found at the last commit.

use std::collections::HashSet;

use database::During;
use database::sqlx::{self, AssertSqlSafe, Row};
use farm::catalogue::{Catalogue, Unreadable};

use super::{Store, StoreError, integer, number, places};

/// A recipe that can be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
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
        sqlx::query("DELETE FROM recipe WHERE project = $1")
            .bind(project)
            .execute(&mut *transaction)
            .await
            .during("forget recipes")?;
        for entry in catalogue.recipes() {
            sqlx::query(
                "INSERT INTO recipe (project, path, source, version, release) VALUES ($1, $2, $3, $4, $5)",
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
                "INSERT INTO recipe (project, path, line, column_number, message) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (project, path) DO UPDATE SET message = recipe.message || $6 || excluded.message",
            )
            .bind(project)
            .bind(&file.path)
            .bind(i64::from(file.line))
            .bind(i64::from(file.column))
            .bind(&file.message)
            .bind("\n")
            .execute(&mut *transaction)
            .await
            .during("note an unreadable recipe")?;
        }
        sqlx::query(
            "INSERT INTO project (name, git_commit) VALUES ($1, $2)
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
        let commit = sqlx::query("SELECT git_commit FROM project WHERE name = $1")
            .bind(project)
            .fetch_optional(self.database.pool())
            .await
            .during("read the commit")?;
        let rows = sqlx::query("SELECT * FROM recipe WHERE project = $1 ORDER BY path")
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
        let rows = sqlx::query("SELECT source FROM recipe WHERE project = $1 AND source IS NOT NULL")
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
        let mut transaction = self.database.write().await?;
        for (sql, what) in [
            ("DELETE FROM recipe WHERE project", "forget recipes"),
            ("DELETE FROM project WHERE name", "forget projects"),
            ("DELETE FROM wanted WHERE project", "forget wishes"),
        ] {
            // Of no name, a list would be a mistake for one of the databases.
            let sql = match names.len() {
                0 => format!("{sql} IS NOT NULL"),
                count => format!("{sql} NOT IN ({})", places(1, count)),
            };
            let statement = sqlx::query(AssertSqlSafe(sql));
            let statement = names.iter().fold(statement, |statement, name| statement.bind(name));
            statement.execute(&mut *transaction).await.during(what)?;
        }
        transaction.commit().await.during("forget projects")?;
        Ok(())
    }
}
