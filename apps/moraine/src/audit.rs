//! `moraine audit`: who did what.

use fault::Fault;
use observe::{printable, write_stdout};
use serde_json::Value;

use crate::summit_api::SummitArguments;

/// Prints the newest of what was done, and of what was refused.
///
/// # Errors
/// When Summit does not answer, or the token does not allow it.
pub(crate) fn audit(summit: &SummitArguments) -> Result<(), Box<dyn Fault>> {
    let trail = summit.api()?.audit()?;
    if summit.json {
        return Ok(write_stdout(&format!("{trail}\n"))?);
    }
    let entries = trail["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(write_stdout(&match entries {
        [] => "nobody has changed anything yet\n".to_owned(),
        entries => entries.iter().map(line).collect(),
    })?)
}

/// Who, what, to what, what became of it.
fn line(entry: &Value) -> String {
    let word = |name: &str| printable(entry[name].as_str().unwrap_or_default()).to_string();
    let refused = if entry["refused"] == true { " (refused)" } else { "" };
    let who = format!("{} {}", word("actor_kind"), word("actor"));
    format!("{}  {}{refused}  {}  {}\n", who.trim_end(), word("action"), word("subject"), word("detail"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_a_line_and_nothing_of_it_reaches_the_terminal_as_it_is() {
        let entry = json!({ "actor_kind": "token", "actor": "ci", "action": "retry_task",
            "subject": "task 7 (n\u{1b}[2Jano)", "detail": "ready", "refused": false });
        let text = line(&entry);
        assert!(text.starts_with("token ci  retry_task  task 7"), "{text:?}");
        assert!(!text.contains('\u{1b}') && text.ends_with("ready\n"), "{text:?}");
    }
}
