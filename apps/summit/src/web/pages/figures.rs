//! Times, sizes and states as people read them.

use farm::task::Phase;
use maud::{Markup, html};

use crate::web::view::TaskView;

pub(super) fn badge(phase: Phase) -> Markup {
    html! { span class=(format!("badge {phase}")) { (phase) } }
}

/// A point in time. The script says how long ago it was, and on demand when, in the reader's own time zone.
pub(crate) fn time(at_ms: u64) -> Markup {
    let [minute, rest] = [utc(at_ms), format!(":{:02}.{:03}Z", at_ms / 1000 % 60, at_ms % 1000)];
    let exact = format!("{}{rest}", minute.trim_end_matches(" UTC").replace(' ', "T"));
    html! { time datetime=(exact) { (minute) } }
}

/// How long a task runs, beside how long it is expected to.
pub(super) fn progress(task: &TaskView, now_ms: u64) -> Markup {
    let Some(since) = task.running_since_ms else { return html! { (time(task.updated_ms)) } };
    let expected = task.expected_end_ms.map(|end| end.saturating_sub(since)).filter(|expected| *expected > 0);
    let gone = now_ms.saturating_sub(since);
    html! {
        span.time {
            span { (elapsed(since, now_ms)) @if let Some(expected) = expected { small { " of about " (about(expected)) } } }
            @if let Some(expected) = expected {
                progress .late[gone > expected] max=(expected) value=(gone.min(expected)) data-since=(since) aria-label="of the time that is expected" {}
            }
        }
    }
}

/// A time that is not known exactly: `40 s`, `6 min`, `2 h 10 min`.
pub(super) fn about(milliseconds: u64) -> String {
    let minutes = (milliseconds + 30_000) / 60_000;
    match minutes {
        0 => format!("{} s", (milliseconds / 10_000 * 10).max(1000.min(milliseconds) / 1000).max(1)),
        1..=9 => format!("{minutes} min"),
        10..=59 => format!("{} min", minutes / 5 * 5),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60 / 10 * 10),
    }
}

/// Time that goes on. The script counts.
pub(super) fn elapsed(since_ms: u64, now_ms: u64) -> Markup {
    html! { span.elapsed data-since=(since_ms) { (duration(now_ms.saturating_sub(since_ms))) } }
}

/// `1 h 02 min`, `3 min 20 s`, `12 s`.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// `2026-07-01 12:34 UTC`. Civil date from days since 1970, by the shift to years that begin in March.
fn utc(at_ms: u64) -> String {
    let minutes = at_ms / 60_000;
    let days = minutes / 1440 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// `512 B`, `1.5 KiB`, `31.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// A name or an architecture as a part of an address. Names of projects need nothing; what somebody typed may.
pub(super) fn in_address(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_for_people() {
        for (milliseconds, expect) in
            [(0, "0 s"), (59_999, "59 s"), (200_000, "3 min 20 s"), (3_720_000, "1 h 02 min")]
        {
            assert_eq!(duration(milliseconds), expect);
        }
        for (milliseconds, expect) in [
            (300, "1 s"),
            (7_000, "1 s"),
            (43_000, "1 min"),
            (25_000, "20 s"),
            (400_000, "7 min"),
            (1_999_000, "30 min"),
            (7_900_000, "2 h 10 min"),
        ] {
            assert_eq!(about(milliseconds), expect, "{milliseconds}");
        }
        assert!(time(951_782_399_042).into_string().contains("datetime=\"2000-02-28T23:59:59.042Z\""));
        for (at_ms, expect) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_709_251_199_000, "2024-02-29 23:59 UTC"),
            (4_102_444_800_000, "2100-01-01 00:00 UTC"),
        ] {
            assert_eq!(utc(at_ms), expect);
        }
        for (bytes, expect) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (33 << 30, "33.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
    }
}
