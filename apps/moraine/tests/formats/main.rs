//! Machines whose Moss is from before the repository's format, led to one that reads it, by the real programs.
//!
//! This program is also the Moss of these tests: with a mark at the end of its file it is a Moss that reads the formats up to
//! that of the mark, and no others. So each test has packages with real programs of every generation. That is why it has a
//! main function of its own and no test harness.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says so itself")]

mod repository_of_formats;
mod ways;

use std::io::{Read, Seek, SeekFrom};
use std::panic::catch_unwind;
use std::process::ExitCode;

use repository::KnownFormats;

/// What stands at the end of a program file, before one digit.
pub(crate) const MARK: &[u8] = b"\nMoss that reads formats up to v";

const TESTS: [(&str, fn()); 6] = [
    ("every_format_is_a_start", ways::every_format_is_a_start),
    ("the_way_back_is_open", ways::the_way_back_is_open),
    ("nobody_is_led_without_being_asked", ways::nobody_is_led_without_being_asked),
    ("a_way_that_leads_nowhere_is_told", ways::a_way_that_leads_nowhere_is_told),
    ("a_moss_that_does_not_start_is_taken_back", ways::a_moss_that_does_not_start_is_taken_back),
    ("a_tag_that_leads_clients_stays", ways::a_tag_that_leads_clients_stays),
];

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    if let Some(newest) = own_generation() {
        return moss::cli::main_knowing(KnownFormats::up_to(newest), std::env::args_os());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut status = ExitCode::SUCCESS;
    for (name, test) in TESTS {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            status = ExitCode::FAILURE;
        }
    }
    status
}

/// The newest format that this program reads, when it is a Moss.
fn own_generation() -> Option<u32> {
    let mut file = fs_err::File::open("/proc/self/exe").ok()?;
    let length = i64::try_from(MARK.len() + 1).ok()?;
    file.seek(SeekFrom::End(-length)).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let digit = end.strip_prefix(MARK)?;
    std::str::from_utf8(digit).ok()?.parse().ok()
}
