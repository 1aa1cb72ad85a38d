//! Which names may become part of a file name or an address.

/// Longest name, version, architecture or recipe name, in bytes. The longest known is 43; with 100 for the name, the
/// version and the architecture hardly ever together exceed what a file system takes, 255 bytes, and
/// [`crate::PackageMeta::check`] sees to it that they never do.
pub const COMPONENT_BYTES_MAX: usize = 100;

/// Why a text cannot be part of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComponentFault {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Longer than [`COMPONENT_BYTES_MAX`].
    #[error("it is longer than {COMPONENT_BYTES_MAX} bytes")]
    TooLong,
    /// Begins with a dot: hidden, or a way to another folder.
    #[error("it begins with a dot")]
    LeadingDot,
    /// Begins with a dash, which programs take for an option.
    #[error("it begins with a dash")]
    LeadingDash,
    /// A slash, a backslash, white space, or a control character.
    #[error("it contains {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// Checks that a text can be part of a file name anywhere: not empty, at most [`COMPONENT_BYTES_MAX`] bytes, no leading
/// `.` or `-`, no slash, backslash, white space, NUL or other control character.
///
/// # Errors
/// The first fault found.
pub fn check_component(text: &str) -> Result<(), ComponentFault> {
    if text.is_empty() {
        return Err(ComponentFault::Empty);
    }
    if text.len() > COMPONENT_BYTES_MAX {
        return Err(ComponentFault::TooLong);
    }
    if text.starts_with('.') {
        return Err(ComponentFault::LeadingDot);
    }
    if text.starts_with('-') {
        return Err(ComponentFault::LeadingDash);
    }
    let refused = |character: &char| {
        matches!(character, '/' | '\\') || character.is_whitespace() || character.is_control()
    };
    match text.chars().find(refused) {
        Some(character) => Err(ComponentFault::Character { character }),
        None => Ok(()),
    }
}

/// Whether [`check_component`] finds no fault.
#[must_use]
pub fn valid_component(text: &str) -> bool {
    check_component(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        let table = [
            ("nano", Ok(())),
            ("libstdc++-devel", Ok(())),
            ("1.2.3~rc1+git^x_y", Ok(())),
            ("x86_64", Ok(())),
            ("ü", Ok(())),
            ("", Err(ComponentFault::Empty)),
            (".", Err(ComponentFault::LeadingDot)),
            ("..", Err(ComponentFault::LeadingDot)),
            (".hidden", Err(ComponentFault::LeadingDot)),
            ("-rf", Err(ComponentFault::LeadingDash)),
            ("a/b", Err(ComponentFault::Character { character: '/' })),
            ("a\\b", Err(ComponentFault::Character { character: '\\' })),
            ("a b", Err(ComponentFault::Character { character: ' ' })),
            ("a\0", Err(ComponentFault::Character { character: '\0' })),
            ("a\u{1b}[31m", Err(ComponentFault::Character { character: '\u{1b}' })),
        ];
        for (text, expect) in table {
            assert_eq!(check_component(text), expect, "{text:?}");
            assert_eq!(valid_component(text), expect.is_ok());
        }
        assert!(valid_component(&"a".repeat(COMPONENT_BYTES_MAX)));
        assert_eq!(check_component(&"a".repeat(COMPONENT_BYTES_MAX + 1)), Err(ComponentFault::TooLong));
    }
}
