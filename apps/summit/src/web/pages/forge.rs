//! Links to commits, as forges address them.

use maud::{Markup, html};

/// A commit in short, with a link where its forge is known to show it.
pub(super) fn commit(recipes_url: &str, commit: &str) -> Markup {
    let short = commit.get(..10).unwrap_or(commit);
    html! {
        @match address(recipes_url, commit) {
            Some(address) => a.mono href=(address) title=(commit) rel="external" { (short) },
            None => code title=(commit) { (short) },
        }
    }
}

/// Where the forge that a repository is cloned from shows a commit; none for a folder and for what is no plain name.
fn address(recipes_url: &str, commit: &str) -> Option<String> {
    let (host, path) = place(recipes_url)?;
    let path = path.trim_matches('/').strip_suffix(".git").unwrap_or(path.trim_matches('/'));
    let is_plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte))
    };
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
    if !is_plain(path) || !is_host || host.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    // GitLab has its own, in every installation that says so in its name; GitHub, Forgejo and Gitea have the same.
    let middle = match host {
        host if host.split('.').any(|part| part == "gitlab") => "/-/commit/",
        "bitbucket.org" => "/commits/",
        _ => "/commit/",
    };
    Some(format!("https://{host}/{path}{middle}{commit}"))
}

/// Host and path of the address that git clones from.
fn place(address: &str) -> Option<(&str, &str)> {
    if let Some(rest) = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")) {
        let (host, path) = rest.split_once('/')?;
        return Some((host.rsplit_once('@').map_or(host, |(_, host)| host), path));
    }
    if let Some(rest) = address.strip_prefix("ssh://") {
        let (host, path) = rest.split_once('/')?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        return Some((host.split_once(':').map_or(host, |(host, _)| host), path));
    }
    // As `scp` writes it: git@host:owner/name.
    let (user, rest) = address.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    (!user.contains('/') && !host.contains('/')).then_some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forge_has_its_own_address() {
        for (recipes, expect) in [
            ("https://github.com/AerynOS/recipes", Some("https://github.com/AerynOS/recipes/commit/abc123")),
            (
                "https://github.com/AerynOS/recipes.git",
                Some("https://github.com/AerynOS/recipes/commit/abc123"),
            ),
            ("git@github.com:AerynOS/recipes.git", Some("https://github.com/AerynOS/recipes/commit/abc123")),
            ("ssh://git@codeberg.org:22/o/r.git", Some("https://codeberg.org/o/r/commit/abc123")),
            ("https://gitlab.example.org/a/b/c/", Some("https://gitlab.example.org/a/b/c/-/commit/abc123")),
            ("https://user:secret@git.example.org/o/r", Some("https://git.example.org/o/r/commit/abc123")),
            ("https://bitbucket.org/o/r", Some("https://bitbucket.org/o/r/commits/abc123")),
            ("/srv/recipes", None),
            ("file:///srv/recipes", None),
            ("https://example.org/\"><script>", None),
            ("javascript:alert(1)", None),
        ] {
            assert_eq!(address(recipes, "abc123").as_deref(), expect, "{recipes}");
        }
        assert_eq!(address("https://github.com/o/r", "\"x"), None);
    }
}
