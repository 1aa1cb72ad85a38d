//! A bar that says which part of something stands how.

use crate::markup::put;
use crate::queue::Sign;

/// Width of the bar in its own units; the page stretches it.
const WIDTH: usize = 1000;

/// Least width of a part, so that one failure among thousands is seen.
const PART_MIN: usize = 4;

/// Draws the parts one after another. What the colours mean is said beside it.
#[must_use]
pub fn shares(parts: &[(Sign, usize)]) -> String {
    let total: usize = parts.iter().map(|(_, count)| count).sum();
    let mut svg = format!(
        "<svg class=\"shares\" viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">"
    );
    let wish = |count: usize| if count == 0 { 0 } else { (count * WIDTH / total.max(1)).max(PART_MIN) };
    let wished: usize = parts.iter().map(|&(_, count)| wish(count)).sum();
    let (mut before, mut x) = (0, 0);
    for &(sign, count) in parts.iter().filter(|(_, count)| *count > 0) {
        before += wish(count);
        let width = before * WIDTH / wished.max(1) - x;
        put!(svg, "<rect class=\"{}\" x=\"{x}\" width=\"{width}\" height=\"10\"/>", sign.word());
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_among_thousands_is_seen() {
        let svg = shares(&[(Sign::Published, 5000), (Sign::Failed, 1), (Sign::Waiting, 0)]);
        assert!(svg.contains("class=\"failed\" x=\"996\" width=\"4\""), "{svg}");
        assert!(!svg.contains("waiting"), "{svg}");
        assert!(shares(&[]).ends_with("\"false\"></svg>"));
    }
}
