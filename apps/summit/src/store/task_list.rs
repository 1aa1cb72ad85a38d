//! Lists of tasks as people look for them: by state, project and name, in an order, a page at a time.

use database::During;
use database::sqlx::{self, AssertSqlSafe};
use farm::task::Phase;

use super::tasks::{TaskRow, task_of};
use super::{Store, StoreError, integer, number};

/// Which tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only those in this phase.
    pub phase: Option<Phase>,
    /// Only those of this project.
    pub project: Option<String>,
    /// Only those whose source name has this text somewhere, in whatever case; all when it is empty.
    pub text: String,
    /// Which come first.
    pub order: TaskOrder,
}

impl TaskFilter {
    /// Those in one phase, whatever changed last first.
    #[must_use]
    pub fn in_phase(phase: Phase) -> Self {
        Self { phase: Some(phase), ..Self::default() }
    }
}

/// Which tasks come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskOrder {
    /// Those that changed last.
    #[default]
    Changed,
    /// Those that did not change for the longest time.
    Unchanged,
    /// By source name.
    Name,
    /// Those that were made last.
    Newest,
}

impl TaskOrder {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Changed, Self::Unchanged, Self::Name, Self::Newest];

    /// As addresses have it.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Name => "name",
            Self::Newest => "newest",
        }
    }

    /// The order that a word names.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.keyword() == keyword)
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Changed => "last change",
            Self::Unchanged => "longest without change",
            Self::Name => "name",
            Self::Newest => "newest",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Changed => "updated DESC, id DESC",
            Self::Unchanged => "updated, id",
            Self::Name => "source, id DESC",
            Self::Newest => "id DESC",
        }
    }
}

/// What is left of tasks; the same for counting and for listing.
const WHERE: &str = "WHERE ($1 IS NULL OR phase = $1) AND ($2 IS NULL OR project = $2)
    AND ($3 IS NULL OR lower(source) LIKE $3 ESCAPE '!')";

impl Store {
    /// A page of tasks, and how many there are in all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_page(
        &self,
        filter: &TaskFilter,
        offset: u64,
        count: u64,
    ) -> Result<(Vec<TaskRow>, u64), StoreError> {
        let keyword = filter.phase.map(Phase::keyword);
        let pattern = (!filter.text.is_empty()).then(|| containing(&filter.text));
        let total = sqlx::query(AssertSqlSafe(format!("SELECT count(*) AS n FROM task {WHERE}")))
            .bind(keyword)
            .bind(filter.project.as_deref())
            .bind(pattern.as_deref())
            .fetch_one(self.database.pool())
            .await
            .during("count tasks")?;
        let order = filter.order.sql();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT * FROM task {WHERE} ORDER BY {order} LIMIT $4 OFFSET $5"
        )))
        .bind(keyword)
        .bind(filter.project.as_deref())
        .bind(pattern.as_deref())
        .bind(integer(count))
        .bind(integer(offset))
        .fetch_all(self.database.pool())
        .await
        .during("list tasks")?;
        let tasks = rows.iter().map(task_of).collect::<Result<_, _>>()?;
        Ok((tasks, number(&total, "n")?))
    }
}

/// A pattern for texts that have this one somewhere.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_taken_as_it_is() {
        assert_eq!(containing("Gtk_4%!"), "%gtk!_4!%!!%");
        for order in TaskOrder::ALL {
            assert_eq!(TaskOrder::from_keyword(order.keyword()), Some(order));
        }
        assert_eq!(TaskOrder::from_keyword("id; DROP TABLE task"), None);
    }
}
