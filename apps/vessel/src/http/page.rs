//! The page at `/`: what is here and how to use it, for a person who followed the address.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A channel as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelFacts {
    pub(crate) name: String,
    /// Identifier of the newest history; none before the first landing.
    pub(crate) history: Option<String>,
    pub(crate) histories: u64,
    pub(crate) packages: usize,
}

/// Everything the page needs lies in it: nothing is loaded from anywhere.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;\
color:#222;background:#fdfdfc}h1{font-size:1.5rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid #ddd}\
pre{background:#f2f2ef;padding:.8rem 1rem;overflow-x:auto;border-radius:4px}a{color:#0b5c8a}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1c1d}th,td{border-color:#3a3a3a}pre{background:#26282a}a{color:#7cc0e8}}";

/// The page, for a tree that is reached at `base_url`.
pub(crate) fn render(base_url: &str, channels: &[ChannelFacts]) -> String {
    let page: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Package repository" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Package repository" }
                p { "Packages for Moss. Every history stays as it is for ever; the root index of a channel says which one is current." }
                table {
                    thead { tr { th { "Channel" } th { "Current history" } th { "Packages" } th { "Histories" } } }
                    tbody { @for channel in channels {
                        tr {
                            td { a href={ "/" (channel.name) "/moss-root-index.json" } { (channel.name) } }
                            td { @match &channel.history {
                                Some(history) => a href={ "/" (channel.name) "/history/" (history) "/x86_64/stone.index" } { (history) },
                                None => "nothing published yet",
                            } }
                            td { (channel.packages) }
                            td { (channel.histories) }
                        }
                    } }
                }
                @if let Some(channel) = channels.first() {
                    h2 { "Use it" }
                    p { "With this project's Moss:" }
                    pre { "moss repo add moraine " (base_url) " --root-index channel=" (channel.name) ",version=stream/volatile" }
                    p { "Or as a file " code { "/etc/moss/repo.d/moraine.yaml" } ", for any Moss that knows versioned repositories:" }
                    pre { "moraine:\n    description: Packages built here\n    base-uri: " (base_url) "\n    channel: " (channel.name) "\n    version: stream/volatile\n    priority: 10" }
                }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_and_nothing_is_loaded() {
        let channel = ChannelFacts {
            name: "main".into(),
            history: Some("17-3fa94c21".into()),
            histories: 17,
            packages: 3,
        };
        let page = render("http://<script>alert(1)</script>", &[channel]);
        assert!(page.contains("17-3fa94c21"));
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("src="), "{page}");
    }

    #[test]
    fn an_empty_channel_says_so() {
        let channel = ChannelFacts { name: "main".into(), history: None, histories: 0, packages: 0 };
        assert!(render("http://127.0.0.1:1", &[channel]).contains("nothing published yet"));
    }
}
