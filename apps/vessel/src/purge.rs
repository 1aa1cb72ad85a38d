//! Tells caches that a pointer has moved, so that readers see it sooner.
//!
//! Nothing depends on it: without a word, or when the word is lost, caches hand out the older version until its time is over,
//! and that one is complete. So a call is bounded and tried again a few times, a failure is logged, and publishing never
//! waits. Movements that come while a call is on its way are told together by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use fetch::{Client, ClientSettings};
use serde::Deserialize;
use tokio::sync::watch;

/// How often a call is made until it is given up.
const ATTEMPTS_MAX: u32 = 4;

/// Pause after the first call that failed; doubled after each.
const PAUSE: Duration = Duration::from_secs(1);

/// Time between two calls: caches bound how many they take, and their answer takes a moment to reach all places anyway.
const GAP: Duration = Duration::from_millis(500);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a token file; tokens have some tens.
const TOKEN_SIZE_BYTES_MAX: u64 = 4 << 10;

/// Keys in one call: the most that Cloudflare takes.
const KEYS_MAX: usize = 30;

/// Moves of the pointers of channels, counted.
pub(crate) type Moves = BTreeMap<String, u64>;

/// A cache that wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Where it is told.
    pub url: String,
    /// A file with what it knows us by.
    pub token_file: Option<PathBuf>,
    /// How it wants to be told.
    pub style: PurgeStyle,
}

/// How a cache wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeStyle {
    /// `POST https://api.fastly.com/service/ID/purge` with `Surrogate-Key`.
    Fastly,
    /// `POST https://api.cloudflare.com/client/v4/zones/ID/purge_cache` with `tags`.
    Cloudflare,
    /// `BAN`, with an expression in `X-Ban-Keys` that the surrogate keys of objects are compared with.
    VarnishBan,
    /// `POST` with a JSON object of `channels` and `keys`.
    Plain,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    method: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl PurgeStyle {
    /// The calls that tell of these channels.
    fn calls(self, channels: &BTreeSet<String>, token: Option<&str>) -> Vec<Call> {
        let keys: Vec<String> = channels
            .iter()
            .flat_map(|channel| [format!("{channel}/pointer"), missing_key(channel)])
            .collect();
        keys.chunks(KEYS_MAX).map(|keys| self.call(channels, keys, token)).collect()
    }

    fn call(self, channels: &BTreeSet<String>, keys: &[String], token: Option<&str>) -> Call {
        let bearer = token.map(|token| ("authorization", format!("Bearer {token}")));
        let json = ("content-type", "application/json".to_owned());
        let object = |value: serde_json::Value| value.to_string().into_bytes();
        match self {
            PurgeStyle::Fastly => {
                let token = token.map(|token| ("fastly-key", token.to_owned()));
                let headers = std::iter::once(("surrogate-key", keys.join(" "))).chain(token).collect();
                Call { method: "POST", headers, body: Vec::new() }
            }
            PurgeStyle::Cloudflare => {
                let headers = std::iter::once(json).chain(bearer).collect();
                Call { method: "POST", headers, body: object(serde_json::json!({ "tags": keys })) }
            }
            PurgeStyle::VarnishBan => {
                // Names of channels have letters, digits and dashes, and mean themselves in an expression.
                let pattern = ("x-ban-keys", format!("(^| )({})( |$)", keys.join("|")));
                let headers = std::iter::once(pattern).chain(bearer).collect();
                Call { method: "BAN", headers, body: Vec::new() }
            }
            PurgeStyle::Plain => {
                let headers = std::iter::once(json).chain(bearer).collect();
                let body = object(serde_json::json!({ "channels": channels, "keys": keys }));
                Call { method: "POST", headers, body }
            }
        }
    }
}

/// What caches know the answer by that something is not there yet.
pub(crate) fn missing_key(channel: &str) -> String {
    format!("{channel}/missing")
}

/// Tells one cache of every move, until nobody moves pointers any more. At the start it is told of all channels: a process
/// that died may have moved a pointer and told nobody.
pub(crate) async fn run(purge: Purge, mut moves: watch::Receiver<Moves>) {
    let settings =
        ClientSettings { connect_timeout: PATIENCE, read_timeout: PATIENCE, ..ClientSettings::default() };
    let client = Client::new(settings);
    let mut told = Moves::new();
    loop {
        let now = moves.borrow_and_update().clone();
        let channels: BTreeSet<String> = now
            .iter()
            .filter(|(channel, count)| told.get(*channel) != Some(count))
            .map(|(channel, _)| channel.clone())
            .collect();
        if !channels.is_empty() {
            tell(&purge, &client, &channels).await;
            told = now;
            tokio::time::sleep(GAP).await;
        }
        if moves.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(purge: &Purge, client: &Client, channels: &BTreeSet<String>) {
    let url = fetch::redacted(&purge.url);
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        let (purge, client, of) = (purge.clone(), client.clone(), channels.clone());
        let result = tokio::task::spawn_blocking(move || call(&purge, &client, &of)).await;
        match result.unwrap_or_else(|error| Err(Refused { why: error.to_string(), is_final: true })) {
            Ok(()) => {
                tracing::debug!(%url, ?channels, "a cache was told");
                return;
            }
            Err(Refused { why, is_final }) if is_final || attempt == ATTEMPTS_MAX => {
                tracing::warn!(%url, why, "cannot tell a cache that a pointer moved; it finds out by itself");
                return;
            }
            Err(Refused { why, .. }) => tracing::debug!(%url, why, attempt, "telling a cache again"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

struct Refused {
    why: String,
    /// Whether asking again is of no use.
    is_final: bool,
}

fn call(purge: &Purge, client: &Client, channels: &BTreeSet<String>) -> Result<(), Refused> {
    // Read each time, so that it can be replaced.
    let token = purge.token_file.as_ref().map(|path| token(path)).transpose();
    let token = token.map_err(|error| Refused { why: error.to_string(), is_final: true })?;
    for call in purge.style.calls(channels, token.as_deref()) {
        let headers: Vec<(&str, &str)> =
            call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let status = client
            .tell_by(call.method, &purge.url, &headers, &call.body)
            .map_err(|error| Refused { why: fault::chain(&error).join(": "), is_final: false })?;
        if !(200..300).contains(&status) {
            let is_final = (400..500).contains(&status) && ![408, 429].contains(&status);
            return Err(Refused { why: format!("it answered with status {status}"), is_final });
        }
    }
    Ok(())
}

fn token(path: &std::path::Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = fs_err::File::open(path)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, TOKEN_SIZE_BYTES_MAX), &mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_cache_is_told_in_its_own_words() {
        let channels = channels(&["main", "try-1"]);
        let call = |style: PurgeStyle| style.calls(&channels, Some("secret")).remove(0);
        let fastly = call(PurgeStyle::Fastly);
        assert_eq!(
            (fastly.method, fastly.headers),
            (
                "POST",
                vec![
                    ("surrogate-key", "main/pointer main/missing try-1/pointer try-1/missing".to_owned()),
                    ("fastly-key", "secret".to_owned())
                ]
            )
        );
        let cloudflare = call(PurgeStyle::Cloudflare);
        assert_eq!(cloudflare.headers[1], ("authorization", "Bearer secret".to_owned()));
        let tags: serde_json::Value = serde_json::from_slice(&cloudflare.body).unwrap();
        assert_eq!(tags["tags"][3], "try-1/missing");
        let ban = call(PurgeStyle::VarnishBan);
        assert_eq!((ban.method, ban.headers[0].0), ("BAN", "x-ban-keys"));
        assert_eq!(ban.headers[0].1, "(^| )(main/pointer|main/missing|try-1/pointer|try-1/missing)( |$)");
        let plain: serde_json::Value = serde_json::from_slice(&call(PurgeStyle::Plain).body).unwrap();
        assert_eq!(plain["channels"], serde_json::json!(["main", "try-1"]));
    }

    #[test]
    fn many_channels_take_several_calls() {
        let names: Vec<String> = (0..40).map(|number| format!("channel-{number}")).collect();
        let calls = PurgeStyle::Cloudflare.calls(&names.into_iter().collect(), None);
        assert_eq!(calls.len(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cache_is_told_at_the_start_of_every_move_and_again_when_it_was_out_of_order() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ban", listener.local_addr().unwrap());
        let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut answers = ["503 Service Unavailable", "200 OK", "200 OK"].into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                tell.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
                let status = answers.next().unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        fs_err::write(&token_file, "secret\n").unwrap();
        let moves = watch::Sender::new(Moves::from([("main".to_owned(), 0)]));
        let purge = Purge { url, token_file: Some(token_file), style: PurgeStyle::VarnishBan };
        let running = tokio::spawn(run(purge, moves.subscribe()));
        for _ in 0..2 {
            let said = heard.recv().await.unwrap().to_lowercase();
            assert!(
                said.starts_with("ban /ban http/1.1") && said.contains("authorization: bearer secret"),
                "{said}"
            );
            assert!(said.contains("(main/pointer|main/missing)"), "{said}");
        }
        moves.send_modify(|moves| *moves.entry("try".to_owned()).or_default() += 1);
        let said = heard.recv().await.unwrap();
        assert!(said.contains("(try/pointer|try/missing)"), "{said}");
        drop(moves);
        running.await.unwrap();
    }
}
