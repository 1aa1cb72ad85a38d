//! What Summit says over HTTP, as far as the demo needs it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use farm::rebuild::{RebuildPlan, RebuildRequest};
use fault::{Fault, Kind};
use fetch::{Answer, Body, Client, HttpError, Validators};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::watch::{Row, RowState};
use crate::why::Why;

/// An answer of the API; a page of 500 tasks has some 500 KB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// A log is read whole to show its end.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Lines of a failed build that are shown.
const LOG_LINES_SHOWN: usize = 30;

/// Why Summit cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It does not answer.
    #[error("cannot ask Summit")]
    Fetch(#[source] HttpError),
    /// The token cannot be read.
    #[error("cannot read the token in {path:?}", path = path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its answer is not what it should be.
    #[error("cannot understand what Summit says at {url}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It says no.
    #[error("Summit refuses: {message}")]
    Refused {
        /// What it says.
        message: String,
        /// What it says to do.
        hints: Vec<String>,
        /// The HTTP status.
        status: u16,
    },
}

/// `{"error":{"message","causes":[…],"hints":[…]}}`
#[derive(Deserialize)]
struct Refusal {
    error: RefusalText,
}

#[derive(Deserialize)]
struct RefusalText {
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    #[serde(default)]
    hints: Vec<String>,
}

impl ApiError {
    /// Something that Summit said in the middle of an answer.
    pub(crate) fn said(message: &str) -> Self {
        ApiError::Refused { message: message.to_owned(), hints: Vec::new(), status: 500 }
    }
}

impl Fault for ApiError {
    fn kind(&self) -> Kind {
        match self {
            ApiError::Fetch(error) => error.kind(),
            ApiError::TokenFile { .. } => Kind::Input,
            ApiError::Answer { .. } => Kind::Bug,
            ApiError::Refused { status, .. } => match status {
                401 | 403 => Kind::Denied,
                404 => Kind::NotFound,
                409 => Kind::Conflict,
                400..=499 => Kind::Input,
                _ => Kind::Unavailable,
            },
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ApiError::Fetch(error) if error.kind() == Kind::Unavailable => {
                vec!["name the address of Summit with --summit or in MORAINE_SUMMIT".into()]
            }
            ApiError::Fetch(error) => error.hints(),
            ApiError::Refused { hints, .. } => hints.clone(),
            ApiError::TokenFile { .. } => {
                vec!["make one with `summit token add NAME --scope SCOPE --data DIR > FILE`".into()]
            }
            ApiError::Answer { .. } => Vec::new(),
        }
    }
}

/// Summit at an address.
#[derive(Debug, Clone)]
pub(crate) struct SummitApi {
    base: String,
    client: Client,
    /// The value of the header that says who asks.
    authorization: Option<String>,
}

/// How Summit is asked: the same for every command that does.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SummitArguments {
    /// Address of Summit's dashboard.
    #[arg(
        long,
        value_name = "URL",
        env = "MORAINE_SUMMIT",
        default_value = "http://127.0.0.1:5000",
        global = true
    )]
    summit: String,
    /// File with a token; without one the token is taken from MORAINE_TOKEN.
    #[arg(long, value_name = "FILE", env = "MORAINE_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

impl SummitArguments {
    /// Summit as it is meant.
    ///
    /// # Errors
    /// When the file with the token cannot be read.
    pub(crate) fn api(&self) -> Result<SummitApi, ApiError> {
        SummitApi::connect(&self.summit, self.token_file.as_deref())
    }
}

/// Where the token is, if no file is named.
const TOKEN_VARIABLE: &str = "MORAINE_TOKEN";

/// Largest file that may hold a token, and nothing else.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Where the farm as a whole is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Status {
    /// Whether recipes were read and nothing is left to do but what is blocked or failed.
    pub idle: bool,
    /// Recipes that cannot be read.
    pub unreadable: usize,
    /// Present time in milliseconds since 1970.
    pub now_ms: u64,
}

/// One build.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    /// Its number.
    pub id: u64,
    /// Source name of the recipe.
    pub source: String,
    /// Version of the recipe.
    pub version: String,
    /// Release of the recipe.
    pub release: u64,
    /// Where it is in its life.
    pub phase: String,
    /// What it is doing, or why it is not.
    pub detail: String,
    /// Who builds it.
    pub builder: Option<String>,
    /// Since when it builds or publishes.
    pub running_since_ms: Option<u64>,
}

/// One try to build a task.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attempt {
    /// When a builder got it.
    pub assigned_ms: u64,
    /// When it had built it.
    pub built_ms: Option<u64>,
    /// Where its log is, below the address of Summit.
    pub log_url: String,
}

#[derive(Deserialize)]
struct TaskList {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct TaskPage<A> {
    attempts: Vec<A>,
}

#[derive(Deserialize)]
struct TaskNumber {
    id: u64,
}

/// One try to build a task, by number.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TaskAttempt {
    /// Its number among all attempts.
    pub id: u64,
    /// Which try at the task it is, from 1.
    pub number: u64,
}

/// Bytes of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPiece {
    /// The task.
    pub task: u64,
    /// The attempt.
    pub attempt: u64,
    /// Where the bytes begin.
    pub offset: u64,
    /// Where the next ones do.
    pub next_offset: u64,
    /// How much of the log there is.
    pub size_bytes: u64,
    /// Whether nothing more will come behind that.
    pub ended: bool,
    /// The bytes, in base64.
    pub bytes: String,
}

/// What is looked for in logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSearch<'a> {
    /// A regular expression.
    pub pattern: &'a str,
    /// Only this task.
    pub task: Option<u64>,
    /// Only builds of this source.
    pub source: Option<&'a str>,
    /// Only builds whose task is there.
    pub phase: Option<&'a str>,
    /// How far back.
    pub since: Option<&'a str>,
}

/// One answer of a search.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogSearchLine {
    /// A build that prints it.
    Log(Box<LogFound>),
    /// The search is over.
    End(LogSearchEnd),
    /// It failed in the middle.
    Error(LogSearchError),
}

/// A build that prints what is looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogFound {
    /// The build.
    pub build: LogBuild,
    /// Lines of its log.
    pub hits: Vec<LogHit>,
    /// Whether there are more.
    pub more: bool,
    /// The build before it.
    pub before: Option<LogBefore>,
}

/// A build whose log was searched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogBuild {
    /// Its task.
    pub task: u64,
    /// The attempt.
    pub attempt: u64,
    /// What was built.
    pub source: String,
    /// In which version.
    pub version: String,
    /// In which release.
    pub release: u64,
    /// From which commit.
    pub commit: String,
    /// Who built it.
    pub builder: String,
    /// What came of it.
    pub outcome: String,
}

/// A line that matches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogHit {
    /// Its number.
    pub line: u64,
    /// The line.
    pub text: String,
}

/// The build before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogBefore {
    /// The build.
    pub build: LogBuild,
    /// Whether it printed that too; none when nobody looked.
    pub prints_it: Option<bool>,
    /// Whether the recipe is another one since.
    pub recipe_changed: bool,
}

/// How a search ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogSearchEnd {
    /// Logs that were looked at.
    pub logs: u64,
    /// Lines that were found.
    pub hits: u64,
    /// Why older logs were not looked at.
    pub stopped_by: Option<String>,
}

/// Why a search ended too soon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogSearchError {
    /// What Summit says.
    pub message: String,
}

/// A recipe that cannot be read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Unreadable {
    /// Path in the repository.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

#[derive(Deserialize)]
struct Recipes {
    unreadable: Vec<Unreadable>,
}

#[derive(Deserialize)]
struct ProjectList {
    projects: Vec<ProjectName>,
}

#[derive(Deserialize)]
struct ProjectName {
    name: String,
}

/// A text as one segment of a path (RFC 3986, 3.3).
pub(crate) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

impl SummitApi {
    /// Summit at this address.
    #[must_use]
    pub(crate) fn new(base: String) -> Self {
        Self { base, client: Client::default(), authorization: None }
    }

    /// Summit at this address, asked with the token in `token_file`, or else in `MORAINE_TOKEN`, or else with none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn connect(summit: &str, token_file: Option<&Path>) -> Result<Self, ApiError> {
        let token = match token_file {
            Some(path) => {
                let failed = |source| ApiError::TokenFile { path: path.to_path_buf(), source };
                let mut text = String::new();
                let file = fs_err::File::open(path).map_err(failed)?;
                file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
                Some(text)
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let api = Self::new(summit.trim_end_matches('/').to_owned());
        Ok(Self { authorization: token.map(|token| format!("Bearer {token}")), ..api })
    }

    /// Headers of a request: these, and who asks.
    fn with_token<'a>(&'a self, headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let token = self.authorization.as_deref().map(|value| ("Authorization", value));
        headers.iter().copied().chain(token).collect()
    }

    /// Whatever is at `path`, below the address of Summit.
    ///
    /// # Errors
    /// When Summit refuses, or does not answer as it should.
    pub(crate) fn look(&self, path: &str) -> Result<Value, ApiError> {
        self.ask(path)
    }

    /// Asks for the change that is at `path`, and returns what is so afterwards.
    ///
    /// # Errors
    /// When Summit refuses, or does not answer as it should.
    pub(crate) fn change(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.tell(path, body)
    }

    /// Where the farm as a whole is.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn status(&self) -> Result<Status, ApiError> {
        self.ask("/api/status")
    }

    /// The newest tasks, at most 500.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn tasks(&self) -> Result<Vec<Task>, ApiError> {
        let mut list: TaskList = self.ask("/api/tasks?per_page=500")?;
        list.tasks.sort_by_key(|task| task.id);
        Ok(list.tasks)
    }

    /// The tries to build a task, in order.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn attempts(&self, task: &Task) -> Result<Vec<Attempt>, ApiError> {
        let page: TaskPage<Attempt> = self.ask(&format!("/api/tasks/{}", task.id))?;
        let mut attempts = page.attempts;
        attempts.sort_by_key(|attempt| attempt.assigned_ms);
        Ok(attempts)
    }

    /// Why a task stands where it stands.
    ///
    /// # Errors
    /// When Summit does not answer as it should, or knows no such task.
    pub(crate) fn why(&self, task: &str) -> Result<Why, ApiError> {
        self.ask(&format!("/api/tasks/{}/why", path_segment(task)))
    }

    /// Recipes that cannot be read.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn unreadable(&self) -> Result<Vec<Unreadable>, ApiError> {
        Ok(self.ask::<Recipes>("/api/recipes")?.unreadable)
    }

    /// The end of the log of a try.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn log_tail(&self, attempt: &Attempt) -> Result<String, ApiError> {
        let bytes = self.get(&attempt.log_url, LOG_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"))
    }

    /// The tries to build the task of this number, in order.
    ///
    /// # Errors
    /// When Summit does not answer as it should, or knows no such task.
    pub(crate) fn task_attempts(&self, task: u64) -> Result<Vec<TaskAttempt>, ApiError> {
        Ok(self.ask::<TaskPage<TaskAttempt>>(&format!("/api/tasks/{task}"))?.attempts)
    }

    /// The number of the task that is meant by a number or a name.
    ///
    /// # Errors
    /// When Summit does not answer as it should, or knows no such task.
    pub(crate) fn task_number(&self, task: &str) -> Result<u64, ApiError> {
        Ok(self.ask::<TaskNumber>(&format!("/api/tasks/{}", path_segment(task)))?.id)
    }

    /// Bytes of a log from `offset` on; Summit waits up to `wait_seconds` for some.
    ///
    /// # Errors
    /// When Summit does not answer as it should, or knows no such attempt.
    pub(crate) fn log_piece(
        &self,
        task: u64,
        attempt: u64,
        offset: u64,
        wait_seconds: u64,
    ) -> Result<LogPiece, ApiError> {
        self.ask(&format!(
            "/api/tasks/{task}/attempts/{attempt}/log?offset={offset}&wait_seconds={wait_seconds}"
        ))
    }

    /// Looks for something in the logs of builds.
    ///
    /// # Errors
    /// When Summit refuses, or does not answer as it should.
    pub(crate) fn search_logs(&self, search: &LogSearch<'_>) -> Result<Vec<LogSearchLine>, ApiError> {
        let mut url = format!("{}/api/logs/search?regex&q={}", self.base, path_segment(search.pattern));
        if let Some(task) = search.task {
            url.push_str(&format!("&task={task}"));
        }
        for (name, value) in [("source", search.source), ("phase", search.phase), ("since", search.since)] {
            if let Some(value) = value {
                url.push_str(&format!("&{name}={}", path_segment(value)));
            }
        }
        let answer =
            self.client.ask_with(&url, &self.with_token(&[]), ANSWER_BYTES_MAX).map_err(ApiError::Fetch)?;
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&url, &answer));
        }
        let lines = answer.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|source| ApiError::Answer { url, source })
    }

    /// The newest of what was done, as it is.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn audit(&self) -> Result<serde_json::Value, ApiError> {
        self.ask("/api/audit?count=100")
    }

    /// Names of the projects.
    ///
    /// # Errors
    /// When Summit does not answer as it should.
    pub(crate) fn projects(&self) -> Result<Vec<String>, ApiError> {
        let list: ProjectList = self.ask("/api/projects")?;
        Ok(list.projects.into_iter().map(|project| project.name).collect())
    }

    /// What must be built again in a project, and with `apply` the order to do it.
    ///
    /// # Errors
    /// When Summit refuses, or does not answer as it should.
    pub(crate) fn rebuild(&self, project: &str, request: &RebuildRequest) -> Result<RebuildPlan, ApiError> {
        self.tell(&format!("/api/projects/{}/rebuild", path_segment(project)), request)
    }

    /// Asks for a change.
    fn tell<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.base);
        let answer_error = |source| ApiError::Answer { url: url.clone(), source };
        let body = serde_json::to_vec(body).map_err(answer_error)?;
        let headers = [("X-Moraine", "1"), ("Content-Type", "application/json")];
        let headers = self.with_token(&headers);
        let answer = self.client.post(&url, &headers, &body, ANSWER_BYTES_MAX).map_err(ApiError::Fetch)?;
        understand(&url, &answer)
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.base);
        let answer =
            self.client.ask_with(&url, &self.with_token(&[]), ANSWER_BYTES_MAX).map_err(ApiError::Fetch)?;
        understand(&url, &answer)
    }

    fn get(&self, path: &str, size_bytes_max: u64) -> Result<Vec<u8>, ApiError> {
        let url = format!("{}{path}", self.base);
        match self.client.get(&url, &Validators::default(), size_bytes_max).map_err(ApiError::Fetch)? {
            Body::Bytes { bytes, .. } => Ok(bytes),
            Body::NotModified => Ok(Vec::new()),
        }
    }
}

/// What Summit says, or in its words why it does not.
fn understand<T: DeserializeOwned>(url: &str, answer: &Answer) -> Result<T, ApiError> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return serde_json::from_slice(&answer.bytes)
            .map_err(|source| ApiError::Answer { url: url.to_owned(), source });
    }
    Err(refusal(url, answer))
}

fn refusal(url: &str, answer: &Answer) -> ApiError {
    let status = answer.status;
    match serde_json::from_slice::<Refusal>(&answer.bytes) {
        Ok(Refusal { error }) => {
            let message = [vec![error.message], error.causes].concat().join(": ");
            ApiError::Refused { message, hints: error.hints, status }
        }
        Err(_) => {
            let message = format!("it answers {status} to {url}");
            ApiError::Refused { message, hints: Vec::new(), status }
        }
    }
}

impl Task {
    /// As a line of a table, at `now_ms`.
    #[must_use]
    pub(crate) fn row(&self, now_ms: u64) -> Row {
        let state = self.state();
        let detail = match (state, &self.builder) {
            (RowState::Building | RowState::Publishing, Some(builder)) => builder.clone(),
            (RowState::Published, _) => String::new(),
            _ => self.detail.clone(),
        };
        Row {
            title: format!("{} {}-{}", self.source, self.version, self.release),
            state,
            detail,
            elapsed: self.running_since_ms.map(|since| Duration::from_millis(now_ms.saturating_sub(since))),
        }
    }

    /// Where it is in its life, as a table tells it.
    #[must_use]
    pub(crate) fn state(&self) -> RowState {
        match self.phase.as_str() {
            "leased" | "building" => RowState::Building,
            "publishing" => RowState::Publishing,
            "published" => RowState::Published,
            "blocked" => RowState::Blocked,
            "failed" | "cancelled" | "superseded" => RowState::Failed,
            _ => RowState::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(phase: &str) -> Task {
        Task {
            id: 1,
            source: "nano".into(),
            version: "7.2".into(),
            release: 1,
            phase: phase.into(),
            detail: "waits for file".into(),
            builder: Some("agent-1".into()),
            running_since_ms: Some(1_000),
        }
    }

    #[test]
    fn a_task_becomes_a_line() {
        let building = task("building").row(66_000);
        assert_eq!((building.title.as_str(), building.detail.as_str()), ("nano 7.2-1", "agent-1"));
        assert_eq!(building.elapsed, Some(Duration::from_secs(65)));
        assert_eq!(task("waiting").row(0).detail, "waits for file");
        assert_eq!(task("published").row(0).state, RowState::Published);
    }
}
