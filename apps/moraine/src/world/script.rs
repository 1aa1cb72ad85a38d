//! What a replayed build says, and how long it takes.
//!
//! Both are functions of the source and the attempt, so that whoever knows these two knows every byte of the log: the
//! replayer writes it, and the end of the world compares it with what Summit kept.

use std::time::Duration;

use farm::sim::{Model, Random};

/// Lines of an ordinary log.
const LINES: (u64, u64) = (10, 80);
/// One in so many builds says far more than others.
const TALKATIVE_ONE_IN: u64 = 40;
/// How many times as much that is: some hundred kilobytes, more than one message holds.
const TALKATIVE_TIMES: u64 = 60;

/// How long the build of `source` takes where a second lasts `scale` times as long.
pub(super) fn duration(seed: u64, source: &str, scale: u64) -> Duration {
    let reference_ms = Model::new(seed, std::collections::HashMap::new()).cost(source).reference_ms;
    Duration::from_micros(reference_ms.saturating_mul(1000) / scale.max(1))
}

/// Everything that one attempt at `source` says.
pub(super) fn log(source: &str, attempt: u64) -> String {
    let mut random = Random::of(attempt, "log", source);
    let (least, most) = LINES;
    let mut lines = least + random.below(most - least);
    if random.below(TALKATIVE_ONE_IN) == 0 {
        lines *= TALKATIVE_TIMES;
    }
    let mut text = String::new();
    for number in 1..=lines {
        text += &format!(
            "{source} attempt {attempt} line {number} of {lines}: {:016x}{:016x}\n",
            random.draw(),
            random.draw()
        );
    }
    text
}

/// The log without what the agent itself has to say, at its beginning and at its end.
pub(super) fn without_notes(log: &[u8]) -> &[u8] {
    let is_note = |line: &[u8]| line.starts_with(b"[avalanche] ") && line.ends_with(b"\n");
    let mut rest = log;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        if !is_note(line) {
            break;
        }
        rest = after;
    }
    while let Some(body) = rest.strip_suffix(b"\n") {
        let begin = body.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (before, line) = rest.split_at(begin);
        if !is_note(line) {
            break;
        }
        rest = before;
    }
    rest
}

/// How many bytes of what was said are not where they should be. Of an attempt that was killed any beginning is right, and
/// where that is in the middle of a line, the agent ended the line before it had its say.
pub(super) fn lost_bytes(source: &str, attempt: u64, kept: &[u8], ended_by_itself: bool) -> u64 {
    let said = log(source, attempt);
    let whole = without_notes(kept);
    let is_broken_off = !ended_by_itself && whole.len() < kept.len() && !said.as_bytes().starts_with(whole);
    let kept = whole.strip_suffix(b"\n").filter(|_| is_broken_off).unwrap_or(whole);
    let same = kept.iter().zip(said.as_bytes()).take_while(|(left, right)| left == right).count();
    let wrong = kept.len() - same;
    let missing = if ended_by_itself { said.len() - same } else { 0 };
    u64::try_from(wrong.max(missing)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_log_is_accounted_for() {
        let said = log("nano", 7);
        assert_ne!(said, log("nano", 8));
        let noted = format!("[avalanche] n/nano at 12 of /r\n{said}[avalanche] failed: it was stopped\n");
        let check = |kept: &str, ended, expect| {
            assert_eq!(lost_bytes("nano", 7, kept.as_bytes(), ended), expect, "{} bytes", kept.len());
        };
        check(&noted, true, 0);
        check(&said, true, 0);
        check("", false, 0);
        check(&said[..said.len() - 5], false, 0);
        check(&format!("{}\n[avalanche] failed: killed\n", &said[..said.len() - 5]), false, 0);
        check(&format!("{}\n[avalanche] failed: killed\n", &said[..said.len() - 5]), true, 5);
        check(&format!("{}[avalanche] failed: killed\n", &said[..said.len() - 5]), false, 27);
        check(&said[..said.len() - 5], true, 5);
        check("", true, u64::try_from(said.len()).unwrap());
        // A gap shifts all that follows.
        let gap = format!("{}{}", &said[..10], &said[12..]);
        assert!(lost_bytes("nano", 7, gap.as_bytes(), false) > 0);
        // Twice the same piece.
        let twice = format!("{said}{said}");
        check(&twice, true, u64::try_from(said.len()).unwrap());
    }

    #[test]
    fn a_larger_scale_is_a_shorter_build() {
        let (long, short) = (duration(1, "llvm", 1), duration(1, "llvm", 1000));
        assert!(short < long && !short.is_zero());
        assert_eq!(duration(1, "llvm", 0), long);
    }
}
