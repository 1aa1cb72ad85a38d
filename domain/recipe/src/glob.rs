//! Patterns of paths: shell globs in which `*` and `?` also match a slash.
//!
//! Matching takes at most the product of the two lengths; there is no pattern that makes it explode.

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// As written, without slashes at the end: a path equal to it matches, even if it has glob characters.
    literal: String,
    /// What every path that matches begins with, so that most paths are done with quickly.
    prefix: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    Any,
    Star,
    /// `**/` behind a slash: any number of directories, or none.
    Directories,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        // What is left of "/" is empty, and covers every absolute path.
        let literal = pattern.trim_end_matches('/');
        let tokens = tokens(literal);
        let prefix = tokens
            .iter()
            .map_while(|token| if let Token::One(character) = token { Some(*character) } else { None })
            .collect();
        Self { literal: literal.to_owned(), prefix, tokens }
    }

    /// Whether the pattern covers a path: it matches the path, or a directory that the path is in.
    pub(crate) fn covers(&self, path: &str) -> bool {
        if path == self.literal || path.strip_prefix(&self.literal).is_some_and(|rest| rest.starts_with('/'))
        {
            return true;
        }
        if !path.starts_with(&self.prefix) {
            return false;
        }
        let characters: Vec<char> = path.chars().collect();
        if self.tokens.contains(&Token::Directories) {
            matches_directories(&self.tokens, &characters)
        } else {
            matches(&self.tokens, &characters)
        }
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
            Some(other) => next.is_some_and(|character| other.fits(character)),
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

/// The same where there are [`Token::Directories`]: all places in the pattern that the path so far can have reached.
fn matches_directories(tokens: &[Token], path: &[char]) -> bool {
    let mut reached = vec![false; tokens.len() + 1];
    reach(tokens, &mut reached, 0);
    for &character in path {
        if character == '/' && reached.last() == Some(&true) {
            return true;
        }
        let mut next = vec![false; tokens.len() + 1];
        for (number, token) in
            tokens.iter().enumerate().filter(|(number, _)| reached.get(*number) == Some(&true))
        {
            match token {
                Token::Star => reach(tokens, &mut next, number),
                Token::Directories => {
                    if let Some(stay) = next.get_mut(number) {
                        *stay = true;
                    }
                    if character == '/' {
                        reach(tokens, &mut next, number + 1);
                    }
                }
                other if other.fits(character) => reach(tokens, &mut next, number + 1),
                _ => {}
            }
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

/// Marks a place as reached, and those behind it that need no character.
fn reach(tokens: &[Token], reached: &mut [bool], number: usize) {
    let free = tokens
        .iter()
        .skip(number)
        .take_while(|token| matches!(token, Token::Star | Token::Directories))
        .count();
    for place in reached.iter_mut().skip(number).take(free + 1) {
        *place = true;
    }
}

impl Token {
    /// Whether a token that stands for one character stands for this one.
    fn fits(&self, character: char) -> bool {
        match self {
            Token::One(wanted) => character == *wanted,
            Token::Any => true,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *negated
            }
            Token::Star | Token::Directories => false,
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
            '*' if matches!(tokens.last(), Some(Token::One('/') | Token::Directories))
                && characters.get(place..place + 2) == Some(&['*', '/']) =>
            {
                place += 2;
                Token::Directories
            }
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
            ("/", "/usr/bin/x", true),
            ("/", "usr", false),
            ("nano", "/usr/bin/nano", false),
            ("/usr/share/man/**/**/gv*", "/usr/share/man/man1/gview.1", true),
            ("/usr/share/man/**/**/gv*", "/usr/share/man/de/man1/gview.1", true),
            ("/usr/share/man/**/**/gv*", "/usr/share/man/gview.1", true),
            ("/usr/share/man/**/gv*", "/usr/share/man/man1/xgview.1", false),
            ("/usr/lib/**/x.sh", "/usr/lib/x.sh", true),
            ("/usr/lib/**/x.sh", "/usr/lib/a/b/x.sh", true),
            ("/usr/lib/**/x.sh", "/usr/libx.sh", false),
            ("/usr/lib/**/x", "/usr/lib/a/x/below", true),
            ("/usr/lib/**", "/usr/lib/a/b", true),
            ("/usr/lib/**/[a-c]?", "/usr/lib/bz", true),
        ] {
            assert_eq!(Glob::new(pattern).covers(path), expect, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_product() {
        let pattern = format!("/{}b", "a*".repeat(200));
        assert!(!Glob::new(&pattern).covers(&format!("/{}", "a".repeat(5_000))));
        let pattern = format!("/{}b", "**/a*".repeat(200));
        assert!(!Glob::new(&pattern).covers(&"/a".repeat(1_000)));
    }
}
