//! Many tasks at once: a few statements for each hundred, so that a rebuild of a whole distribution is written down in the
//! time of a breath, wherever the database is.

use std::collections::{HashMap, HashSet};

use database::sqlx::{self, AssertSqlSafe};
use database::{DatabaseConnection, DatabaseError, During};
use farm::ids::TaskId;
use farm::moment::Moment;
use farm::task::{Event, Phase, State, Step, step};

use super::changes::{Applied, apply, note_attempt};
use super::tasks::{NewTask, TaskRow, task_of};
use super::{StoreError, integer, number, places, to_json};

/// Rows of one statement. A statement of a hundred tasks has 1,800 places, of 32,766 that SQLite has and 65,535 of
/// PostgreSQL; more rows gain nothing, as finding a place by its name costs SQLite the more the more there are.
const ROWS: usize = 100;

/// Makes tasks; returns their numbers in the same order.
pub(super) async fn insert(
    connection: &mut DatabaseConnection,
    new: &[NewTask],
    now: Moment,
) -> Result<Vec<TaskId>, StoreError> {
    let state = State::new();
    let (phase, state) = (state.phase().keyword(), to_json(&state)?);
    let mut made = Vec::with_capacity(new.len());
    for tasks in new.chunks(ROWS) {
        let sql = format!(
            "INSERT INTO task (project, channel, source, version, release, build_release, architecture, recipe_path,
                 content, git_commit, commit_time_seconds, reason, wave, round, phase, state, generation, created, updated)
             VALUES {} RETURNING id",
            rows(tasks.len(), 19)
        );
        let mut statement = sqlx::query(AssertSqlSafe(sql)).persistent(tasks.len() == ROWS);
        for task in tasks {
            statement = statement
                .bind(&task.project)
                .bind(&task.channel)
                .bind(&task.source)
                .bind(&task.version)
                .bind(integer(task.release))
                .bind(integer(task.build_release))
                .bind(&task.architecture)
                .bind(&task.recipe_path)
                .bind(&task.content)
                .bind(&task.commit)
                .bind(integer(task.commit_time_seconds))
                .bind(to_json(&task.reason)?)
                .bind(task.wave.map(integer))
                .bind(i64::from(task.round))
                .bind(phase)
                .bind(&state)
                .bind(0_i64)
                .bind(integer(now.0))
                .bind(integer(now.0));
        }
        let answer = statement.fetch_all(&mut *connection).await.during("make tasks")?;
        let ids: Result<Vec<u64>, DatabaseError> = answer.iter().map(|row| number(row, "id")).collect();
        // Numbers are given in the order of the rows, and told in any.
        let mut ids = ids?;
        ids.sort_unstable();
        made.extend(ids.into_iter().map(TaskId));
    }
    Ok(made)
}

/// What a person said about a task holds for the one that takes its place: its priority, and that it is held.
pub(super) async fn inherit(
    connection: &mut DatabaseConnection,
    replaced: &[(TaskId, TaskId)],
    now: Moment,
) -> Result<(), StoreError> {
    for pairs in replaced.chunks(ROWS) {
        let sql = format!(
            "SELECT * FROM task WHERE (priority IS NOT NULL OR phase = '{}') AND id IN ({})",
            Phase::Held.keyword(),
            places(1, pairs.len())
        );
        let statement = sqlx::query(AssertSqlSafe(sql)).persistent(pairs.len() == ROWS);
        let statement = pairs.iter().fold(statement, |statement, (old, _)| statement.bind(integer(old.0)));
        let answer = statement.fetch_all(&mut *connection).await.during("read tasks that are replaced")?;
        for row in &answer {
            let old = task_of(row)?;
            for (_, new) in pairs.iter().filter(|(id, _)| *id == old.id) {
                sqlx::query(
                    "UPDATE task SET priority = (SELECT priority FROM task WHERE id = $1)
                     WHERE id = $2 AND priority IS NULL",
                )
                .bind(integer(old.id.0))
                .bind(integer(new.0))
                .execute(&mut *connection)
                .await
                .during("hand on the priority of a task")?;
                if let State::Held { by, why, .. } = &old.state {
                    let held = Event::Held { by: by.clone(), why: why.clone() };
                    apply(connection, *new, &held, now).await?;
                }
            }
        }
    }
    Ok(())
}

/// Lets each event happen to its task, in this order. Refused ones are left out: those tasks moved on by themselves.
pub(super) async fn apply_all(
    connection: &mut DatabaseConnection,
    events: &[(TaskId, Event)],
    now: Moment,
) -> Result<Vec<Applied>, StoreError> {
    let mut all = Vec::with_capacity(events.len());
    let mut rest = events;
    while !rest.is_empty() {
        // A task is judged as it is after what happened to it before, so it comes up once in each piece.
        let mut seen = HashSet::new();
        let length = rest.iter().take(ROWS).take_while(|(id, _)| seen.insert(*id)).count();
        let (piece, after) = rest.split_at(length);
        all.extend(apply_piece(connection, piece, now).await?);
        rest = after;
    }
    Ok(all)
}

/// A change that was judged.
struct Judged<'e> {
    event: &'e Event,
    before: TaskRow,
    step: Step,
}

async fn apply_piece(
    connection: &mut DatabaseConnection,
    events: &[(TaskId, Event)],
    now: Moment,
) -> Result<Vec<Applied>, StoreError> {
    let mut rows = read(connection, events).await?;
    let mut judged = Vec::with_capacity(events.len());
    for (id, event) in events {
        let Some(before) = rows.remove(id) else {
            return Err(StoreError::NotFound { what: format!("task {id}") });
        };
        match step(&before.state, event, now) {
            Ok(step) => judged.push(Judged { event, before, step }),
            Err(reason) => {
                tracing::info!(task.id = %id, %reason, "a task was left as it is: it moved on meanwhile");
            }
        }
    }
    if judged.is_empty() {
        return Ok(Vec::new());
    }
    write(connection, &judged, now).await?;
    note(connection, &judged, now).await?;
    let mut all = Vec::with_capacity(judged.len());
    for Judged { event, before, step } in judged {
        note_attempt(connection, &before.state, event, &step.effects, now).await?;
        let generation = before.generation + 1;
        let task = TaskRow { state: step.next, generation, updated: now, ..before };
        all.push(Applied { task, effects: step.effects });
    }
    Ok(all)
}

async fn read(
    connection: &mut DatabaseConnection,
    events: &[(TaskId, Event)],
) -> Result<HashMap<TaskId, TaskRow>, StoreError> {
    let sql = format!("SELECT * FROM task WHERE id IN ({})", places(1, events.len()));
    let statement = sqlx::query(AssertSqlSafe(sql)).persistent(events.len() == ROWS);
    let statement = events.iter().fold(statement, |statement, (id, _)| statement.bind(integer(id.0)));
    let answer = statement.fetch_all(connection).await.during("read tasks")?;
    let rows: Result<HashMap<TaskId, TaskRow>, DatabaseError> =
        answer.iter().map(|row| task_of(row).map(|task| (task.id, task))).collect();
    Ok(rows?)
}

/// Writes the states, each compared with the generation that it was judged by.
async fn write(
    connection: &mut DatabaseConnection,
    judged: &[Judged<'_>],
    now: Moment,
) -> Result<(), StoreError> {
    // Both databases call the columns of VALUES so.
    let sql = format!(
        "UPDATE task SET phase = change.column3, state = change.column4, generation = task.generation + 1,
             updated = change.column5
         FROM (VALUES {}) AS change WHERE task.id = change.column1 AND task.generation = change.column2",
        rows(judged.len(), 5)
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql)).persistent(judged.len() == ROWS);
    for Judged { before, step, .. } in judged {
        statement = statement
            .bind(integer(before.id.0))
            .bind(integer(before.generation))
            .bind(step.next.phase().keyword())
            .bind(to_json(&step.next)?)
            .bind(integer(now.0));
    }
    let changed = statement.execute(connection).await.during("change tasks")?.rows_affected();
    if usize::try_from(changed).ok() == Some(judged.len()) {
        return Ok(());
    }
    // The write lock is held, so this cannot be; and if it were, nothing may be overwritten.
    let why = format!("{changed} of {} changed", judged.len());
    Err(DatabaseError::Damaged { what: "tasks that nobody else may change".into(), why }.into())
}

/// Notes the events.
async fn note(
    connection: &mut DatabaseConnection,
    judged: &[Judged<'_>],
    now: Moment,
) -> Result<(), StoreError> {
    // A renewal says only that a builder is alive, and comes several times a minute for each build.
    let noted: Vec<&Judged<'_>> =
        judged.iter().filter(|judged| !matches!(judged.event, Event::Renewed { .. })).collect();
    if noted.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO event (task, generation, at, verb, event, phase) VALUES {}",
        rows(noted.len(), 6)
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql)).persistent(noted.len() == ROWS);
    for Judged { event, before, step } in noted {
        statement = statement
            .bind(integer(before.id.0))
            .bind(integer(before.generation + 1))
            .bind(integer(now.0))
            .bind(event.verb())
            .bind(to_json(event)?)
            .bind(step.next.phase().keyword());
    }
    statement.execute(connection).await.during("note events")?;
    Ok(())
}

/// Places for `count` rows of `width` values.
fn rows(count: usize, width: usize) -> String {
    let rows: Vec<String> = (0..count).map(|row| format!("({})", places(1 + row * width, width))).collect();
    rows.join(", ")
}
