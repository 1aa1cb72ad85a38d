//! Lists and bars that fit a terminal.

/// Names on lines of at most `columns`, each line behind `indent`; what does not fit on `lines_max` lines is counted.
pub(super) fn wrapped(names: &[&str], indent: &str, columns: usize, lines_max: usize) -> String {
    let width = columns.saturating_sub(indent.len()).max(20);
    let mut lines = vec![String::new()];
    for (number, name) in names.iter().enumerate() {
        let comma = if number + 1 < names.len() { ", " } else { "" };
        let length = name.chars().count() + comma.len();
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + length > width {
            if lines.len() == lines_max {
                let rest = names.len() - number;
                lines.push(format!("and {rest} more"));
                break;
            }
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(name);
            line.push_str(comma);
        }
    }
    lines.iter().map(|line| format!("{indent}{}\n", line.trim_end())).collect()
}

/// A bar for each number, the largest `columns` long. Whatever is not zero shows.
pub(super) fn bars(numbers: &[usize], columns: usize) -> Vec<String> {
    let largest = numbers.iter().copied().max().unwrap_or(0).max(1);
    let length = |number: usize| (number * columns.max(1)).div_ceil(largest);
    numbers.iter().map(|&number| "█".repeat(length(number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_wrapped_and_counted() {
        assert_eq!(wrapped(&["a", "b"], "  ", 80, 2), "  a, b\n");
        let names: Vec<String> = (0..20).map(|number| format!("name-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = wrapped(&names, "  ", 30, 2);
        assert_eq!(text, "  name-0, name-1, name-2,\n  name-3, name-4, name-5,\n  and 14 more\n");
    }

    #[test]
    fn bars_keep_their_proportions() {
        assert_eq!(bars(&[0, 1, 50, 100], 10), ["", "█", "█████", "██████████"]);
        assert_eq!(bars(&[], 10), Vec::<String>::new());
    }
}
