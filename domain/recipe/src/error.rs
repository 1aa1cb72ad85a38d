//! Why a recipe cannot be read or evaluated.

use std::fmt;

use fault::{Fault, Kind};

use crate::problem::Problem;

/// A recipe, monitoring or macro file that cannot be used: everything that is wrong with it, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    problems: Vec<Problem>,
}

impl RecipeError {
    pub(crate) fn one(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    /// The caller sees to it that there is at least one.
    pub(crate) fn several(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::position);
        Self { problems }
    }

    /// What is wrong, at least one thing, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is wrong, to be shown beside other problems.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

impl Fault for RecipeError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        let file = self.problems.first().map_or("stone.yaml", |problem| problem.file.as_str());
        vec![format!("correct the file and look again with `boulder recipe check {file}`")]
    }
}

/// Why a recipe that can be read gives no build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A script, a tuning choice or a package field says something that cannot be done.
    #[error("{problem}{}", shown_trace(trace))]
    Recipe {
        /// What and where.
        problem: Box<Problem>,
        /// Through which actions and definitions the expansion came there, outermost first.
        trace: Vec<String>,
    },
    /// There are no macros for the target.
    #[error("cannot build for target {target:?}: there are no macros for it; known targets are {}", known.join(", "))]
    UnknownTarget {
        /// The target asked for.
        target: String,
        /// The targets there are.
        known: Vec<String>,
    },
    /// Our own macros contradict themselves, or an override of the caller does.
    #[error("cannot evaluate the macros: {message}{}", shown_trace(trace))]
    Macros {
        /// What is wrong.
        message: String,
        /// Through which actions and definitions the expansion came there, outermost first.
        trace: Vec<String>,
    },
}

fn shown_trace(trace: &[String]) -> String {
    // A loop of a hundred levels is understood from its first few.
    const SHOWN_MAX: usize = 8;
    let mut text = String::new();
    for step in trace.iter().take(SHOWN_MAX) {
        text.push_str("\n expanded from ");
        text.push_str(step);
    }
    if trace.len() > SHOWN_MAX {
        text.push_str("\n and so on");
    }
    text
}

impl EvaluateError {
    pub(crate) fn recipe(problem: Problem) -> Self {
        Self::Recipe { problem: Box::new(problem), trace: Vec::new() }
    }
}

impl Fault for EvaluateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Recipe { .. } | Self::UnknownTarget { .. } => Kind::Input,
            Self::Macros { .. } => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Recipe { problem, .. } => {
                vec![format!("correct the file and look again with `boulder recipe check {}`", problem.file)]
            }
            Self::UnknownTarget { known, .. } => known
                .first()
                .map(|target| format!("use a known target, such as {target}"))
                .into_iter()
                .collect(),
            Self::Macros { .. } => {
                vec![
                    "without overridden definitions this is a fault of the program; please report it"
                        .to_owned(),
                ]
            }
        }
    }
}
