//! What forges say when somebody pushed, and how they prove that it is them.
//!
//! Each is known by its headers, in one table. All of them say in the same field which reference moved.

use access::token::SecretDigest;
use ring::hmac;
use serde::Deserialize;

/// How a forge proves that it knows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The HMAC-SHA256 of the body in hexadecimal digits, after this prefix.
    Signature { header: &'static str, prefix: &'static str },
    /// The secret itself.
    Secret { header: &'static str },
}

/// One kind of forge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forge {
    pub(crate) name: &'static str,
    /// The header that says what happened.
    event_header: &'static str,
    /// What it says when somebody pushed.
    push: &'static str,
    proof: Proof,
}

/// Every forge that is understood. Some send the headers of others as well, so those come first.
const FORGES: [Forge; 4] = [
    Forge {
        name: "Forgejo",
        event_header: "x-forgejo-event",
        push: "push",
        proof: Proof::Signature { header: "x-forgejo-signature", prefix: "" },
    },
    Forge {
        name: "Gitea",
        event_header: "x-gitea-event",
        push: "push",
        proof: Proof::Signature { header: "x-gitea-signature", prefix: "" },
    },
    Forge {
        name: "GitLab",
        event_header: "x-gitlab-event",
        push: "Push Hook",
        proof: Proof::Secret { header: "x-gitlab-token" },
    },
    Forge {
        name: "GitHub",
        event_header: "x-github-event",
        push: "push",
        proof: Proof::Signature { header: "x-hub-signature-256", prefix: "sha256=" },
    },
];

/// What all of them say of a push, as far as it matters.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// This branch moved.
    Pushed { branch: String },
    /// Something that changes no branch.
    Else,
}

/// Why nothing is believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disbelief {
    #[error("no header says which forge this is")]
    UnknownForge,
    #[error("{0} does not prove that it knows the secret of the project")]
    Unproven(&'static str),
    #[error("what {0} says of a push cannot be understood")]
    Garbled(&'static str),
}

/// What a forge says, if it proves that it knows `secret`. `header` gives the value of a header.
pub(crate) fn understand<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    secret: &[u8],
) -> Result<(&'static Forge, Said), Disbelief> {
    let known = FORGES.iter().find_map(|forge| Some((forge, header(forge.event_header)?)));
    let (forge, event) = known.ok_or(Disbelief::UnknownForge)?;
    let is_proven = match forge.proof {
        Proof::Signature { header: name, prefix } => {
            let shown = header(name).and_then(|text| text.strip_prefix(prefix)).and_then(bytes);
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            // In the same time wherever they differ.
            shown.is_some_and(|shown| hmac::verify(&key, body, &shown).is_ok())
        }
        Proof::Secret { header: name } => {
            header(name).is_some_and(|shown| SecretDigest::of(shown.as_bytes()) == SecretDigest::of(secret))
        }
    };
    if !is_proven {
        return Err(Disbelief::Unproven(forge.name));
    }
    if event != forge.push {
        return Ok((forge, Said::Else));
    }
    let push: Push = serde_json::from_slice(body).map_err(|_| Disbelief::Garbled(forge.name))?;
    let said = match push.reference.strip_prefix("refs/heads/") {
        Some(branch) => Said::Pushed { branch: branch.to_owned() },
        None => Said::Else,
    };
    Ok((forge, said))
}

/// The bytes that these hexadecimal digits are; as many as a SHA-256 has.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let is_right = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    is_right.then(|| (0..64).step_by(2).map(pair).collect::<Option<Vec<u8>>>()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a shared secret";

    fn signed(body: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), body);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check(headers: &[(&str, &str)], body: &[u8]) -> Result<(&'static str, Said), Disbelief> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        understand(header, body, SECRET).map(|(forge, said)| (forge.name, said))
    }

    #[test]
    fn every_forge_is_understood_and_none_without_proof() {
        let github = include_bytes!("../tests/forge/github.json");
        let gitlab = include_bytes!("../tests/forge/gitlab.json");
        let forgejo = include_bytes!("../tests/forge/forgejo.json");
        let (of_github, of_forgejo) = (format!("sha256={}", signed(github)), signed(forgejo));
        let main = || Said::Pushed { branch: "main".into() };
        type Row<'a> = (&'static str, Vec<(&'static str, &'a str)>, &'a [u8], (&'static str, &'static str));
        let table: [Row; 4] = [
            (
                "GitHub",
                vec![("x-github-event", "push"), ("x-hub-signature-256", &of_github)],
                github,
                ("x-hub-signature-256", "sha256=00"),
            ),
            (
                "GitLab",
                vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "a shared secret")],
                gitlab,
                ("x-gitlab-token", "a shared secre"),
            ),
            (
                "Forgejo",
                vec![
                    ("x-github-event", "push"),
                    ("x-gitea-event", "push"),
                    ("x-forgejo-event", "push"),
                    ("x-forgejo-signature", &of_forgejo),
                ],
                forgejo,
                ("x-forgejo-signature", &"0".repeat(64).leak()[..]),
            ),
            (
                "Gitea",
                vec![("x-gitea-event", "push"), ("x-gitea-signature", &of_forgejo)],
                forgejo,
                ("x-gitea-signature", "zz"),
            ),
        ];
        for (name, headers, body, wrong) in table {
            assert_eq!(check(&headers, body), Ok((name, main())));
            // Another body, another proof, no proof.
            let other = [body, b" "].concat();
            let is_signed = !headers.iter().any(|(header, _)| *header == "x-gitlab-token");
            assert_eq!(check(&headers, &other).is_err(), is_signed, "{name}");
            let mut forged = headers.clone();
            forged.retain(|(header, _)| *header != wrong.0);
            assert_eq!(check(&forged, body), Err(Disbelief::Unproven(name)));
            forged.push(wrong);
            assert_eq!(check(&forged, body), Err(Disbelief::Unproven(name)));
        }
        assert_eq!(check(&[("x-hub-signature-256", "sha256=")], b"{}"), Err(Disbelief::UnknownForge));
    }

    #[test]
    fn what_is_no_push_to_a_branch_is_something_else() {
        let token = ("x-gitlab-token", "a shared secret");
        let said = |event: &'static str, body: &[u8]| check(&[("x-gitlab-event", event), token], body);
        assert_eq!(said("Note Hook", b"{}"), Ok(("GitLab", Said::Else)));
        assert_eq!(said("Push Hook", br#"{"ref":"refs/tags/v1"}"#), Ok(("GitLab", Said::Else)));
        assert_eq!(said("Push Hook", b"not JSON"), Err(Disbelief::Garbled("GitLab")));
        assert_eq!(said("Push Hook", b"{}"), Err(Disbelief::Garbled("GitLab")));
    }
}
