//! Everything that can be said about a recipe without building it.

use crate::error::EvaluateError;
use crate::model::Recipe;
use crate::plan::{BuildContext, plan_all};
use crate::problem::{Problem, Severity};
use crate::rules::package_rules;

/// Evaluates a recipe for every target it has on an architecture, and returns what is wrong or doubtful: macros that do not
/// exist, tuning choices that do not, package fields that cannot be used. Each thing is named once.
#[must_use]
pub fn check(recipe: &Recipe, architecture: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for target in recipe.targets(architecture) {
        match plan_all(recipe, &BuildContext::new(recipe, target)) {
            Ok((_, errors)) => problems.extend(errors.into_iter().map(|error| problem(recipe, error))),
            Err(error) => problems.push(problem(recipe, error)),
        }
    }
    if let Err(error) = package_rules(recipe, &BuildContext::new(recipe, architecture)) {
        problems.push(problem(recipe, error));
    }
    let blocks = std::iter::once(&recipe.build).chain(recipe.profiles.iter().map(|(_, fields)| fields));
    for workload in blocks.filter_map(|fields| fields.workload.as_ref()) {
        let at = workload.position(0);
        let message = "profile guided optimisation is not done yet: the recipe is built in one plain stage";
        let help = "the workload script is kept for later and has no effect";
        problems.push(recipe.source.problem(Severity::Warning, at, message).with_help(help));
    }
    problems.sort_by_key(Problem::position);
    problems.dedup();
    problems
}

fn problem(recipe: &Recipe, error: EvaluateError) -> Problem {
    match error {
        EvaluateError::Recipe { mut problem, trace } => {
            if !trace.is_empty() {
                problem.message = format!("{} (expanded from {})", problem.message, trace.join(" → "));
            }
            *problem
        }
        other => {
            let at = crate::problem::Position::START;
            recipe.source.problem(Severity::Error, at, other.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    fn checked(rest: &str) -> Vec<String> {
        let text = format!("name: demo\nversion: \"1.0\"\nrelease: 2\nhomepage: h\nlicense: MIT\n{rest}");
        let problems = check(&parse("stone.yaml", &text).unwrap().recipe, "x86_64");
        problems
            .iter()
            .map(|problem| format!("{}:{}: {}", problem.line, problem.column, problem.message))
            .collect()
    }

    #[test]
    fn everything_is_found_once() {
        assert_eq!(checked("build: |\n  %make\n"), Vec::<String>::new());
        assert_eq!(
            checked(
                "emul32: true\nsetup: |\n  %nix\nbuild: |\n  %(nix)\nrundeps: [ \"%(nix)\" ]\nworkload: x\n"
            ),
            [
                "8:3: there is no action %nix",
                "10:3: there is no definition %(nix)",
                "11:13: there is no definition %(nix)",
                "12:11: profile guided optimisation is not done yet: the recipe is built in one plain stage",
            ]
        );
    }

    #[test]
    fn an_architecture_without_macros_is_an_error_of_the_recipe() {
        let text = "name: a\nversion: \"1\"\nrelease: 1\nhomepage: h\nlicense: MIT\nemul32: true\n";
        let problems = check(&parse("stone.yaml", text).unwrap().recipe, "aarch64");
        assert!(problems[0].message.contains("emul32/aarch64"), "{}", problems[0].message);
    }
}
