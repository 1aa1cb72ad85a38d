//! Text in pictures.

/// Adds to a text, as `format!` makes it.
macro_rules! put {
    ($text:expr, $($what:tt)*) => {
        $text.push_str(&format!($($what)*))
    };
}
pub(crate) use put;

/// `text` for content and quoted attributes of XML. Control characters, which XML cannot hold at all, are left out.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars().filter(|sign| !sign.is_control() && !matches!(sign, '\u{FFFE}' | '\u{FFFF}')) {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(sign),
        }
    }
    safe
}

/// As much of `text` as `characters_max` allow, with a sign that something is missing.
#[must_use]
pub fn shortened(text: &str, characters_max: usize) -> String {
    match text.chars().count() > characters_max {
        true => text.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(escaped("<a href='x'>&\"\u{1b}[0m"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;[0m");
        assert_eq!(
            (shortened("firefox", 7).as_str(), shortened("firefoxes", 7).as_str()),
            ("firefox", "firefo…")
        );
    }
}
