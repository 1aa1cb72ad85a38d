//! Progress bars, plain lines, and how sizes and plans are printed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use observe::{Palette, Stream, Style, printable};

use crate::change::Change;
use crate::reporter::{Phase, Reporter};

/// Bars on a terminal, lines elsewhere, only warnings with `--json`.
pub(super) fn reporter(json: bool) -> Box<dyn Reporter> {
    if json {
        Box::new(Quiet)
    } else if observe::is_terminal(Stream::Stderr) {
        Box::new(Bars::default())
    } else {
        Box::new(Lines)
    }
}

fn say(text: &str) {
    // There is nobody left to tell when standard error is closed.
    if writeln!(io::stderr().lock(), "{}", printable(text)).is_err() {
        tracing::debug!("standard error is closed");
    }
}

fn warning(message: &str) -> String {
    let palette = Palette::of(Stream::Stderr);
    format!("{} {message}", palette.paint(Style::Warning, "warning:"))
}

struct Quiet;

impl Reporter for Quiet {
    fn begin(&self, _phase: Phase, _total: u64) {}

    fn advance(&self, _phase: Phase, _amount: u64) {}

    fn end(&self, _phase: Phase) {}

    fn warn(&self, message: &str) {
        say(&format!("warning: {message}"));
    }
}

struct Lines;

impl Reporter for Lines {
    fn begin(&self, phase: Phase, total: u64) {
        if total > 0 {
            let amount = if phase.counts_bytes() { bytes(total) } else { total.to_string() };
            say(&format!("{} ({amount})", phase.label()));
        }
    }

    fn advance(&self, _phase: Phase, _amount: u64) {}

    fn end(&self, _phase: Phase) {}

    fn warn(&self, message: &str) {
        say(&format!("warning: {message}"));
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    running: Mutex<HashMap<Phase, ProgressBar>>,
}

impl Bars {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Phase, ProgressBar>) -> T) -> T {
        work(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reporter for Bars {
    fn begin(&self, phase: Phase, total: u64) {
        if total == 0 {
            return;
        }
        let template = if phase.counts_bytes() {
            "{prefix:>14} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}"
        } else {
            "{prefix:>14} [{bar:32}] {pos}/{len}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self
            .all
            .add(ProgressBar::new(total))
            .with_style(style.progress_chars("=> "))
            .with_prefix(phase.label());
        self.with(|running| running.insert(phase, bar));
    }

    fn advance(&self, phase: Phase, amount: u64) {
        self.with(|running| {
            if let Some(bar) = running.get(&phase) {
                bar.inc(amount);
            }
        });
    }

    fn end(&self, phase: Phase) {
        if let Some(bar) = self.with(|running| running.remove(&phase)) {
            bar.finish_and_clear();
        }
    }

    fn warn(&self, message: &str) {
        self.all.suspend(|| {
            if writeln!(io::stderr().lock(), "{}", warning(&printable(message))).is_err() {
                tracing::debug!("standard error is closed");
            }
        });
    }
}

/// Units of sizes, each 1,024 of the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A size as people read it: `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    // In tenths, so that no floating point is needed.
    let mut tenths = u128::from(count) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// What a plan would change, for people.
pub(super) fn plan(change: &Change, palette: Palette) -> String {
    let resolution = &change.resolution;
    let mut text = String::new();
    let mut section = |title: &str, style: Style, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{} ({}):\n", palette.paint(style, title), lines.len()));
            for line in lines {
                text.push_str(&format!("  {}\n", printable(&line)));
            }
        }
    };
    let size =
        |id| change.download_bytes_of(id).map(|count| format!("  {}", bytes(count))).unwrap_or_default();
    let added = resolution.added.iter().map(|package| {
        let selected = resolution.selection.iter().find(|selected| selected.package.id == package.id);
        let why = match selected.map(|selected| &selected.origin) {
            Some(system::resolve::Origin::NeededBy { name, .. }) => format!("  (for {name})"),
            _ => String::new(),
        };
        format!("{package}{}{why}", size(&package.id))
    });
    section("New", Style::Good, added.collect());
    let upgraded = resolution.upgraded.iter().map(|upgrade| {
        format!(
            "{} -> {}-{}{}",
            upgrade.from,
            upgrade.to.version,
            upgrade.to.release.source,
            size(&upgrade.to.id)
        )
    });
    section("Upgraded", Style::Strong, upgraded.collect());
    let removed =
        resolution.removed.iter().map(|removal| format!("{}  ({})", removal.package, removal.reason));
    section("Removed", Style::Error, removed.collect());
    section("Now explicit", Style::Strong, resolution.made_explicit.clone());
    section("Notes", Style::Warning, resolution.notes.iter().map(ToString::to_string).collect());
    if change.is_empty() {
        text.push_str("Nothing to do.\n");
        return text;
    }
    text.push_str(&format!("Download: {}", bytes(change.download_bytes)));
    match change.added_bytes {
        Some(added) => {
            text.push_str(&format!(", installed: +{} -{}\n", bytes(added), bytes(change.removed_bytes)));
        }
        None if change.removed_bytes > 0 => {
            text.push_str(&format!(
                ", installed: -{}, and what is new, known once it is downloaded\n",
                bytes(change.removed_bytes)
            ));
        }
        None => text.push('\n'),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (579_233, "565.6 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (count, expect) in table {
            assert_eq!(bytes(count), expect);
        }
    }
}
