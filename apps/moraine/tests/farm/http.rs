//! Requests to Summit's API. HTTP/1.0 is all they need: the answer ends where the connection does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest silence of a server; one that was killed comes back sooner.
const SILENCE: Duration = Duration::from_secs(20);

/// Status and body, or why there is none: services are killed while they are asked.
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, String), std::io::Error> {
    let rest = url.strip_prefix("http://").expect("a plain address");
    let (host, path) = rest.split_once('/').expect("an address with a path");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other("the connection ended within the answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the answer has no status"))?;
    Ok((status, body.to_owned()))
}
