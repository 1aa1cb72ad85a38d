//! Patterns of paths: shell globs in which `*` and `?` also match a slash.
//!
//! Matching takes at most the product of the two lengths; there is no pattern that makes it explode.

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// As written, without slashes at the end: a path equal to it matches, even if it has glob characters.
    literal: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let trimmed = pattern.trim_end_matches('/');
        let literal = if trimmed.is_empty() { pattern } else { trimmed };
        Self { literal: literal.to_owned(), tokens: tokens(literal) }
    }

    /// Whether the pattern covers a path: it matches the path, or a directory that the path is in.
    pub(crate) fn covers(&self, path: &str) -> bool {
        if path == self.literal || path.strip_prefix(&self.literal).is_some_and(|rest| rest.starts_with('/')) {
            return true;
        }
        let characters: Vec<char> = path.chars().collect();
        matches(&self.tokens, &characters)
    }
}

/// Whether the tokens match a beginning of the path that is all of it or ends before a slash.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    // Where to go on after a mismatch: one character more for the last star.
    let mut retry: Option<(usize, usize)> = None;
    let (mut token, mut place) = (0, 0);
    loop {
        let next = path.get(place).copied();
        let fits = match tokens.get(token) {
            None if next.is_none_or(|character| character == '/') => return true,
            None => false,
            Some(Token::Star) => {
                retry = Some((token + 1, place));
                token += 1;
                continue;
            }
            Some(Token::Any) => next.is_some(),
            Some(Token::One(wanted)) => next == Some(*wanted),
            Some(Token::Class { negated, ranges }) => next.is_some_and(|character| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *negated
            }),
        };
        if fits {
            token += 1;
            place += 1;
        } else if let Some((after_star, start)) = retry.filter(|(_, start)| *start < path.len()) {
            retry = Some((after_star, start + 1));
            (token, place) = (after_star, start + 1);
        } else {
            return false;
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut place = 0;
    while let Some(&character) = characters.get(place) {
        place += 1;
        let token = match character {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => match class(characters.get(place..).unwrap_or_default()) {
                Some((length, class)) => {
                    place += length;
                    class
                }
                None => Token::One('['),
            },
            '\\' if place < characters.len() => {
                let escaped = characters.get(place).copied().unwrap_or('\\');
                place += 1;
                Token::One(escaped)
            }
            other => Token::One(other),
        };
        tokens.push(token);
    }
    tokens
}

/// A class behind its opening bracket, and its length with the closing one; none if it is not closed.
fn class(characters: &[char]) -> Option<(usize, Token)> {
    let negated = matches!(characters.first(), Some('!' | '^'));
    let mut place = usize::from(negated);
    let first = place;
    let mut ranges = Vec::new();
    loop {
        let character = *characters.get(place)?;
        if character == ']' && place > first {
            return Some((place + 1, Token::Class { negated, ranges }));
        }
        let last = match (characters.get(place + 1), characters.get(place + 2)) {
            (Some('-'), Some(last)) if *last != ']' => {
                place += 2;
                *last
            }
            _ => character,
        };
        ranges.push((character, last));
        place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (pattern, path, expect) in [
            ("*", "/usr/bin/x", true),
            ("/usr/bin", "/usr/bin/x", true),
            ("/usr/bin", "/usr/bin", true),
            ("/usr/bin", "/usr/bine", false),
            ("/usr/include/", "/usr/include/a/b.h", true),
            ("/usr/lib/lib*.so", "/usr/lib/libx.so", true),
            ("/usr/lib/lib*.so", "/usr/lib/libx.so.1", false),
            ("/usr/lib/lib*.so", "/usr/lib/deep/libx.so", false),
            ("/usr/lib/*.a", "/usr/lib/deep/er/libx.a", true),
            ("/usr/lib/lib*.so.*", "/usr/lib/libx.so.1.2", true),
            ("/usr/lib/qt*/examples", "/usr/lib/qt6/examples/a/b", true),
            ("/usr/share/man/man3", "/usr/share/man/man3x/a", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("/a?c", "/a/c", true),
            ("/[ab]x", "/bx", true),
            ("/[!ab]x", "/bx", false),
            ("/[a-c]x", "/bx/y", true),
            ("/[x", "/[x", true),
            ("/usr/bin/[", "/usr/bin/[", true),
            ("/usr/bin/a[1]", "/usr/bin/a[1]", true),
            ("/usr/bin/a[1]", "/usr/bin/a1", true),
            ("/usr/bin/\\*", "/usr/bin/*", true),
            ("/usr/bin/\\*", "/usr/bin/x", false),
            ("/", "/", true),
            ("", "", true),
            ("", "/usr", true),
            ("nano", "/usr/bin/nano", false),
        ] {
            assert_eq!(Glob::new(pattern).covers(path), expect, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_product() {
        let pattern = format!("/{}b", "a*".repeat(200));
        assert!(!Glob::new(&pattern).covers(&format!("/{}", "a".repeat(5_000))));
    }
}
