//! Orders, as they are checked and kept.

use serde::{Deserialize, Serialize};
use wire::summit;

/// Time limit of a build whose order names none: the longest real builds (browsers, LLVM) take half a day.
const TIME_SECONDS_DEFAULT: u32 = 12 * 60 * 60;
/// Longest silence of a build whose order names none: the longest link steps say nothing for some tens of minutes.
const SILENCE_SECONDS_DEFAULT: u32 = 60 * 60;
/// Largest log of a build whose order names none; the largest real ones are below 200 MB.
const LOG_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;
/// Largest output of a build whose order names none; the largest real ones are a few gigabytes.
const OUTPUT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024 * 1024;
/// Most repositories of an order; a channel and the ones below it are a handful.
const REPOSITORIES_MAX: usize = 64;

/// Which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AttemptId(pub(crate) u64);

impl std::fmt::Display for AttemptId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The fencing token of an attempt's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LeaseToken(pub(crate) u64);

/// One build to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) task_id: u64,
    pub(crate) attempt_id: AttemptId,
    pub(crate) lease_token: LeaseToken,
    pub(crate) git_url: String,
    pub(crate) commit: String,
    /// Of the stone.yaml, below the root of the repository.
    pub(crate) recipe_path: String,
    pub(crate) architecture: String,
    pub(crate) build_release: u32,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) limits: Limits,
    pub(crate) source_name: String,
    pub(crate) commit_time_seconds: u64,
}

/// A place that packages for the build root come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repository {
    pub(crate) id: String,
    pub(crate) source: RepositorySource,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RepositorySource {
    Index { uri: String },
    Root { base_uri: String, channel: String, version: String },
}

/// What a build may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) time_seconds: u32,
    pub(crate) silence_seconds: u32,
    pub(crate) log_bytes: u64,
    pub(crate) output_bytes: u64,
    /// 0 for no limit but the machine's.
    pub(crate) memory_bytes: u64,
    /// 0 for a fair share of what is free; missing in an order that an older agent kept.
    #[serde(default)]
    pub(crate) disk_bytes: u64,
}

impl Order {
    /// Checks an order; what it names goes into paths and onto command lines. The reason is for Summit's people.
    pub(crate) fn check(order: summit::Order) -> Result<Order, String> {
        if order.attempt_id == 0 {
            return Err("the order names no attempt".to_owned());
        }
        if fetch::CommitId::parse(&order.commit).is_none() {
            return Err(format!("{:?} is not a full commit id", order.commit));
        }
        if !is_relative_path(&order.recipe_path) || !order.recipe_path.ends_with(".yaml") {
            return Err(format!("{:?} is not the path of a recipe", order.recipe_path));
        }
        if !is_word(&order.architecture) {
            return Err(format!("{:?} is not an architecture", order.architecture));
        }
        if order.repositories.len() > REPOSITORIES_MAX {
            return Err(format!("the order names more than {REPOSITORIES_MAX} repositories"));
        }
        let limits = order.limits.unwrap_or_default();
        let or = |value: u32, default| if value == 0 { default } else { value };
        let or_large = |value: u64, default| if value == 0 { default } else { value };
        Ok(Order {
            task_id: order.task_id,
            attempt_id: AttemptId(order.attempt_id),
            lease_token: LeaseToken(order.lease_token),
            git_url: order.git_url,
            commit: order.commit,
            recipe_path: order.recipe_path,
            architecture: order.architecture,
            build_release: order.build_release,
            repositories: order.repositories.into_iter().map(Repository::check).collect::<Result<_, _>>()?,
            limits: Limits {
                time_seconds: or(limits.time_seconds, TIME_SECONDS_DEFAULT),
                silence_seconds: or(limits.silence_seconds, SILENCE_SECONDS_DEFAULT),
                log_bytes: or_large(limits.log_bytes, LOG_BYTES_DEFAULT),
                output_bytes: or_large(limits.output_bytes, OUTPUT_BYTES_DEFAULT),
                memory_bytes: limits.memory_bytes,
                disk_bytes: limits.disk_bytes,
            },
            source_name: order.source_name,
            commit_time_seconds: order.commit_time_seconds,
        })
    }

    /// The folder of the recipe below the root of the repository; empty for the root itself.
    pub(crate) fn recipe_folder(&self) -> &str {
        self.recipe_path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

impl Repository {
    fn check(repository: summit::Repository) -> Result<Repository, String> {
        use summit::repository::Source;
        let source = match repository.source {
            Some(Source::IndexUri(uri)) => RepositorySource::Index { uri },
            Some(Source::RootIndex(root)) => RepositorySource::Root {
                base_uri: root.base_uri,
                channel: root.channel,
                version: root.version,
            },
            None => return Err(format!("the repository {:?} has no address", repository.id)),
        };
        let checked = Repository { id: repository.id, source, priority: repository.priority };
        match checked.parts().into_iter().find(|(_, value)| !is_part(value)) {
            Some((name, value)) => Err(format!("{value:?} cannot be the {name} of a repository")),
            None => Ok(checked),
        }
    }

    /// Its properties by name, as Boulder takes them.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &str)> {
        let mut parts = vec![("id", self.id.as_str())];
        match &self.source {
            RepositorySource::Index { uri } => parts.push(("uri", uri)),
            RepositorySource::Root { base_uri, channel, version } => {
                parts.extend([("base-uri", base_uri.as_str()), ("channel", channel), ("version", version)]);
            }
        }
        parts
    }
}

/// Whether every step of `path` goes down.
fn is_relative_path(path: &str) -> bool {
    // 4096 bytes is PATH_MAX.
    path.len() < 4096
        && !path.chars().any(char::is_control)
        && path.split('/').all(|step| !step.is_empty() && step != "." && step != ".." && step != ".git")
}

fn is_word(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.len() <= 64
        && text.chars().all(plain)
}

/// Whether `text` can stand in `name=text,name=text`.
fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 2048
        && !text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || letter == ',')
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn wire_order(attempt_id: u64) -> summit::Order {
        summit::Order {
            task_id: 7,
            attempt_id,
            lease_token: attempt_id + 1000,
            git_url: "https://example.org/recipes.git".to_owned(),
            commit: "ab".repeat(20),
            recipe_path: "n/nano/stone.yaml".to_owned(),
            architecture: "x86_64".to_owned(),
            build_release: 1,
            repositories: vec![summit::Repository {
                id: "volatile".to_owned(),
                priority: 10,
                source: Some(summit::repository::Source::RootIndex(summit::RootIndex {
                    base_uri: "http://127.0.0.1:1".to_owned(),
                    channel: "main".to_owned(),
                    version: "stream/volatile".to_owned(),
                })),
            }],
            limits: None,
            source_name: "nano".to_owned(),
            commit_time_seconds: 1_700_000_000,
        }
    }

    pub(crate) fn order(attempt_id: u64) -> Order {
        Order::check(wire_order(attempt_id)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::samples::wire_order;
    use super::*;

    #[test]
    fn orders_that_lead_elsewhere_are_refused_with_a_reason() {
        fn check(change: impl FnOnce(&mut summit::Order), expect: &str) {
            let mut order = wire_order(1);
            change(&mut order);
            let reason = Order::check(order).unwrap_err();
            assert!(reason.contains(expect), "{reason}");
        }
        check(|order| order.attempt_id = 0, "no attempt");
        check(|order| order.commit = "main".to_owned(), "full commit id");
        check(|order| order.recipe_path = "../x/stone.yaml".to_owned(), "path of a recipe");
        check(|order| order.recipe_path = "/etc/stone.yaml".to_owned(), "path of a recipe");
        check(|order| order.recipe_path = ".git/stone.yaml".to_owned(), "path of a recipe");
        check(|order| order.recipe_path = "n/nano".to_owned(), "path of a recipe");
        check(|order| order.architecture = "--help".to_owned(), "architecture");
        check(|order| order.repositories[0].id = "a,uri=b".to_owned(), "the id of a repository");
        check(|order| order.repositories[0].source = None, "no address");
    }

    #[test]
    fn limits_that_are_not_named_have_a_default() {
        let mut order = wire_order(1);
        order.limits = Some(summit::Limits { time_seconds: 5, ..summit::Limits::default() });
        let limits = Order::check(order).unwrap().limits;
        assert_eq!((limits.time_seconds, limits.silence_seconds), (5, SILENCE_SECONDS_DEFAULT));
    }

    #[test]
    fn an_order_is_read_back_as_it_was_kept() {
        let order = samples::order(3);
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
        assert_eq!(order.recipe_folder(), "n/nano");
    }
}
