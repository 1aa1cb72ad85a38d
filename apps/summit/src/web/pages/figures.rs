//! Times, sizes and states as people read them.

use farm::task::Phase;
use maud::{Markup, html};

pub(super) fn badge(phase: Phase) -> Markup {
    html! { span class=(format!("badge {phase}")) { (phase) } }
}

/// A point in time. The script says how long ago it was, in the reader's own time zone.
pub(super) fn time(at_ms: u64) -> Markup {
    html! { time data-ms=(at_ms) { (utc(at_ms)) } }
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
