//! What differs between two short texts, for people to read.

/// Lines of which a diff is made; of longer texts only the new one is shown.
const LINES_MAX: usize = 500;

/// Both texts in one, lines that only the old one has after `-`, those that only the new one has after `+`.
pub(super) fn diff(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return after.to_owned();
    }
    // How many lines are common from each pair of places to the ends.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (row, old_line) in old.iter().enumerate().rev() {
        for (column, new_line) in new.iter().enumerate().rev() {
            common[row][column] = if old_line == new_line {
                common[row + 1][column + 1] + 1
            } else {
                common[row + 1][column].max(common[row][column + 1])
            };
        }
    }
    let (mut row, mut column, mut text) = (0, 0, String::new());
    while row < old.len() || column < new.len() {
        match (old.get(row), new.get(column)) {
            (Some(old_line), Some(new_line)) if old_line == new_line => {
                text.push_str(&format!("  {old_line}\n"));
                row += 1;
                column += 1;
            }
            (Some(old_line), new_line)
                if new_line.is_none() || common[row + 1][column] >= common[row][column + 1] =>
            {
                text.push_str(&format!("- {old_line}\n"));
                row += 1;
            }
            (_, Some(new_line)) => {
                text.push_str(&format!("+ {new_line}\n"));
                column += 1;
            }
            // Only where both are at their ends, which ends the loop.
            (_, None) => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn lines_that_differ_are_marked() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), "  a\n- b\n+ x\n  c\n+ d\n");
        assert_eq!(diff("", "a\n"), "+ a\n");
        assert_eq!(diff("a\n", ""), "- a\n");
        assert_eq!(diff("a\n", "a\n"), "  a\n");
    }
}
