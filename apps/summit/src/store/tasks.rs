//! Tasks, and what happened to them.

use database::sqlx::{self, AssertSqlSafe, Row};
use database::{DatabaseConnection, DatabaseError, DatabaseRow, During};
use farm::ids::TaskId;
use farm::missing::Reason;
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::schedule::Priority;
use farm::task::{Event, Phase, State};

use super::{Store, StoreError, integer, json, number, optional_number, places, text};

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its number.
    pub id: TaskId,
    /// The project that asks for it.
    pub project: String,
    /// The channel that it is published to.
    pub channel: String,
    /// Source name.
    pub source: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: u64,
    /// Build release.
    pub build_release: u64,
    /// Architecture.
    pub architecture: String,
    /// Path of the recipe in its repository.
    pub recipe_path: String,
    /// Content of the recipe.
    pub content: String,
    /// The commit that it is built from.
    pub commit: String,
    /// Time of that commit, in seconds since 1970.
    pub commit_time_seconds: u64,
    /// Why it is needed.
    pub reason: Reason,
    /// The wave of the knot that it is built with.
    pub wave: Option<u64>,
    /// The round in its knot, from 1; 0 outside of knots.
    pub round: u32,
    /// What an operator said about its priority; none when the configuration decides.
    pub priority: Option<Priority>,
    /// Where it stands.
    pub state: State,
    /// How often it changed.
    pub generation: u64,
    /// When it was made.
    pub created: Moment,
    /// When it changed last.
    pub updated: Moment,
}

/// A task to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The project that asks for it.
    pub project: String,
    /// The channel that it is published to.
    pub channel: String,
    /// Source name.
    pub source: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: u64,
    /// Build release.
    pub build_release: u64,
    /// Architecture.
    pub architecture: String,
    /// Path of the recipe in its repository.
    pub recipe_path: String,
    /// Content of the recipe.
    pub content: String,
    /// The commit that it is built from.
    pub commit: String,
    /// Time of that commit, in seconds since 1970.
    pub commit_time_seconds: u64,
    /// Why it is needed.
    pub reason: Reason,
    /// The wave of the knot that it is built with.
    pub wave: Option<u64>,
    /// The round in its knot, from 1; 0 outside of knots.
    pub round: u32,
    /// Tasks that it replaces.
    pub supersedes: Vec<TaskId>,
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When.
    pub at: Moment,
    /// What, in a word.
    pub verb: String,
    /// What, with everything.
    pub event: Event,
    /// Where the task stood afterwards.
    pub phase: Phase,
}

/// A task that a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTask {
    /// Its number.
    pub id: TaskId,
    /// The project that asks for it.
    pub project: String,
    /// Architecture.
    pub architecture: String,
    /// Where it stands.
    pub phase: Phase,
}

/// How far the tasks have come: two equal marks mean that nothing but renewals of leases lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    newest_task: u64,
    newest_event: u64,
}

impl Store {
    /// How far the tasks have come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark(&self) -> Result<Mark, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT coalesce(max(id), 0) FROM task) AS task, (SELECT coalesce(max(id), 0) FROM event) AS event",
        )
        .fetch_one(self.database.pool())
        .await
        .during("read how far the tasks are")?;
        Ok(Mark { newest_task: number(&row, "task")?, newest_event: number(&row, "event")? })
    }

    /// Since when the task of this phase that is in it longest has been.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_in(&self, phase: Phase) -> Result<Option<Moment>, StoreError> {
        let row = sqlx::query("SELECT min(updated) AS oldest FROM task WHERE phase = $1")
            .bind(phase.keyword())
            .fetch_one(self.database.pool())
            .await
            .during("find the oldest task")?;
        Ok(optional_number(&row, "oldest")?.map(Moment))
    }

    /// When the oldest task of an arena that moves by itself was made: one that waits, may start, is being built or is on
    /// its way into the repository.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn moving_since(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<Option<Moment>, StoreError> {
        let row = sqlx::query(
            "SELECT min(created) AS oldest FROM task WHERE project = $1 AND architecture = $2
             AND phase IN ('waiting', 'ready', 'leased', 'building', 'publishing')",
        )
        .bind(project)
        .bind(architecture)
        .fetch_one(self.database.pool())
        .await
        .during("find the oldest task that moves")?;
        Ok(optional_number(&row, "oldest")?.map(Moment))
    }

    /// The task of this number.
    ///
    /// # Errors
    /// When there is none, when the database fails.
    pub async fn task(&self, id: TaskId) -> Result<TaskRow, StoreError> {
        let mut connection = self.database.pool().acquire().await.during("read a task")?;
        task(&mut connection, id).await
    }

    /// Tasks in these phases, the oldest first, all as they were at one moment: a task that moves from one of the phases
    /// to another meanwhile is there in any case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_in(&self, phases: &[Phase]) -> Result<Vec<TaskRow>, StoreError> {
        self.tasks_outside(&[], phases).await
    }

    /// Tasks in these phases that belong to none of these arenas (project, architecture, channel), the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_outside(
        &self,
        arenas: &[(String, String, String)],
        phases: &[Phase],
    ) -> Result<Vec<TaskRow>, StoreError> {
        if phases.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = format!("SELECT * FROM task WHERE phase IN ({})", places(1, phases.len()));
        if !arenas.is_empty() {
            let rows: Vec<String> =
                (0..arenas.len()).map(|at| format!("({})", places(phases.len() + 1 + 3 * at, 3))).collect();
            sql += &format!(" AND (project, architecture, channel) NOT IN (VALUES {})", rows.join(", "));
        }
        sql += " ORDER BY id";
        let statement = sqlx::query(AssertSqlSafe(sql));
        let statement = phases.iter().fold(statement, |statement, phase| statement.bind(phase.keyword()));
        let statement = arenas.iter().fold(statement, |statement, (project, architecture, channel)| {
            statement.bind(project).bind(architecture).bind(channel)
        });
        let rows = statement.fetch_all(self.database.pool()).await.during("list tasks")?;
        Ok(rows.iter().map(task_of).collect::<Result<_, _>>()?)
    }

    /// Tasks that were made or changed after `mark`, and the mark that they bring. Renewals of leases do not count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changed_since(&self, mark: Mark) -> Result<(Vec<TaskRow>, Mark), StoreError> {
        // Before the tasks: what happens in between is told once more the next time.
        let new_mark = self.mark().await?;
        let rows = sqlx::query(
            "SELECT * FROM task WHERE id > $1 OR id IN (SELECT task FROM event WHERE id > $2) ORDER BY id",
        )
        .bind(integer(mark.newest_task))
        .bind(integer(mark.newest_event))
        .fetch_all(self.database.pool())
        .await
        .during("list changed tasks")?;
        Ok((rows.iter().map(task_of).collect::<Result<_, _>>()?, new_mark))
    }

    /// Gives tasks that were made before there were several projects to this one. Returns how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn adopt_tasks(&self, project: &str, channel: &str) -> Result<u64, StoreError> {
        let statement = sqlx::query("UPDATE task SET project = $1, channel = $2 WHERE project = ''")
            .bind(project)
            .bind(channel);
        let adopted = self.database.change(statement, "give tasks to a project").await?;
        Ok(adopted)
    }

    /// How many tasks stand where, in one project or in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self, project: Option<&str>) -> Result<Vec<(Phase, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT phase, count(*) AS n FROM task WHERE $1 IS NULL OR project = $1 GROUP BY phase",
        )
        .bind(project)
        .fetch_all(self.database.pool())
        .await
        .during("count tasks")?;
        let mut counts: Vec<(Phase, u64)> = Phase::ALL.into_iter().map(|phase| (phase, 0)).collect();
        for row in &rows {
            let keyword = text(row, "phase")?;
            let count = number(row, "n")?;
            for entry in counts.iter_mut().filter(|(phase, _)| phase.keyword() == keyword) {
                entry.1 = count;
            }
        }
        Ok(counts)
    }

    /// The newest task of each recipe of an arena that is not superseded, and every one that is open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_tasks(
        &self,
        project: &str,
        architecture: &str,
    ) -> Result<Vec<(KnownTask, Moment)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, source, recipe_path, content, release, build_release, phase, updated FROM task
             WHERE project = $1 AND architecture = $2 AND (phase NOT IN ('published', 'superseded')
                OR id IN (SELECT max(id) FROM task WHERE project = $1 AND architecture = $2 AND phase = 'published'
                          GROUP BY source))",
        )
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("list known tasks")?;
        rows.iter()
            .map(|row| {
                let known = KnownTask {
                    id: TaskId(number(row, "id")?),
                    source: text(row, "source")?,
                    recipe_path: text(row, "recipe_path")?,
                    content: text(row, "content")?,
                    release: number(row, "release")?,
                    build_release: number(row, "build_release")?,
                    phase: phase_of(row)?,
                };
                Ok((known, Moment(number(row, "updated")?)))
            })
            .collect()
    }

    /// The task of each arena that a source name means: the newest that still matters, else the newest. Restricted to a
    /// project and an architecture where they are given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_named(
        &self,
        source: &str,
        project: Option<&str>,
        architecture: Option<&str>,
    ) -> Result<Vec<NamedTask>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, project, architecture, phase FROM task WHERE source = $1 AND project = coalesce($2, project)
             AND architecture = coalesce($3, architecture) ORDER BY project, architecture, id",
        )
        .bind(source)
        .bind(project)
        .bind(architecture)
        .fetch_all(self.database.pool())
        .await
        .during("look for tasks by name")?;
        let mut named: Vec<NamedTask> = Vec::new();
        for row in &rows {
            let task = NamedTask {
                id: TaskId(number(row, "id")?),
                project: text(row, "project")?,
                architecture: text(row, "architecture")?,
                phase: phase_of(row)?,
            };
            match named.last_mut() {
                Some(last) if (&last.project, &last.architecture) == (&task.project, &task.architecture) => {
                    if task.phase.is_living() || !last.phase.is_living() {
                        *last = task;
                    }
                }
                _ => named.push(task),
            }
        }
        Ok(named)
    }

    /// Says how urgent a task is; none leaves that to the configuration.
    ///
    /// # Errors
    /// When there is no such task, when the database fails.
    pub async fn set_priority(&self, id: TaskId, priority: Option<Priority>) -> Result<TaskRow, StoreError> {
        let statement = sqlx::query("UPDATE task SET priority = $1 WHERE id = $2")
            .bind(priority.map(Priority::keyword))
            .bind(integer(id.0));
        self.database.change(statement, "note the priority of a task").await?;
        self.task(id).await
    }

    /// The last events of a task, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, task: TaskId, count: u64) -> Result<Vec<EventRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM event WHERE task = $1 ORDER BY id DESC LIMIT $2")
            .bind(integer(task.0))
            .bind(integer(count))
            .fetch_all(self.database.pool())
            .await
            .during("list events")?;
        rows.iter()
            .map(|row| {
                Ok(EventRow {
                    at: Moment(number(row, "at")?),
                    verb: text(row, "verb")?,
                    event: json(row, "event")?,
                    phase: phase_of(row)?,
                })
            })
            .collect()
    }
}

pub(super) async fn task(connection: &mut DatabaseConnection, id: TaskId) -> Result<TaskRow, StoreError> {
    let row = sqlx::query("SELECT * FROM task WHERE id = $1")
        .bind(integer(id.0))
        .fetch_optional(connection)
        .await
        .during("read a task")?;
    match row {
        Some(row) => Ok(task_of(&row)?),
        None => Err(StoreError::NotFound { what: format!("task {id}") }),
    }
}

pub(super) fn task_of(row: &DatabaseRow) -> Result<TaskRow, DatabaseError> {
    Ok(TaskRow {
        id: TaskId(number(row, "id")?),
        project: text(row, "project")?,
        channel: text(row, "channel")?,
        source: text(row, "source")?,
        version: text(row, "version")?,
        release: number(row, "release")?,
        build_release: number(row, "build_release")?,
        architecture: text(row, "architecture")?,
        recipe_path: text(row, "recipe_path")?,
        content: text(row, "content")?,
        commit: text(row, "git_commit")?,
        commit_time_seconds: number(row, "commit_time_seconds")?,
        reason: json(row, "reason")?,
        wave: optional_number(row, "wave")?,
        round: u32::try_from(number(row, "round")?).unwrap_or(u32::MAX),
        priority: priority_of(row)?,
        state: json(row, "state")?,
        generation: number(row, "generation")?,
        created: Moment(number(row, "created")?),
        updated: Moment(number(row, "updated")?),
    })
}

fn priority_of(row: &DatabaseRow) -> Result<Option<Priority>, DatabaseError> {
    let keyword: Option<String> = row.try_get("priority").during("read a priority")?;
    let known = |keyword: String| {
        Priority::from_keyword(&keyword).ok_or_else(|| DatabaseError::Damaged {
            what: "priority".into(),
            why: format!("{keyword:?} is not known"),
        })
    };
    keyword.map(known).transpose()
}

pub(super) fn phase_of(row: &DatabaseRow) -> Result<Phase, DatabaseError> {
    let keyword = text(row, "phase")?;
    Phase::from_keyword(&keyword).ok_or_else(|| DatabaseError::Damaged {
        what: "phase".into(),
        why: format!("{keyword:?} is not known"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_task() -> NewTask {
        NewTask {
            project: "p".into(),
            channel: "main".into(),
            source: "nano".into(),
            version: "7.2".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            recipe_path: "nano/stone.yaml".into(),
            content: String::new(),
            commit: "0".repeat(40),
            commit_time_seconds: 0,
            reason: Reason::New,
            wave: None,
            round: 0,
            supersedes: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_moves_while_it_is_looked_for_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&database::Address::File(folder.path().join("summit.db"))).await.unwrap();
        store.carry_out(&[new_task()], &[], Moment(0)).await.unwrap();
        let id = store.tasks_in(&Phase::ALL).await.unwrap()[0].id;
        let moving = tokio::spawn({
            let store = store.clone();
            async move {
                for round in 0..100 {
                    let cancel = Event::CancelAsked { why: format!("round {round}") };
                    store.apply(id, &cancel, Moment(round)).await.unwrap();
                    store.apply(id, &Event::RetryAsked, Moment(round)).await.unwrap();
                }
            }
        });
        let phases = [Phase::Waiting, Phase::Building, Phase::Failed, Phase::Cancelled];
        while !moving.is_finished() {
            assert_eq!(store.tasks_in(&phases).await.unwrap().len(), 1);
        }
        moving.await.unwrap();
    }
}
