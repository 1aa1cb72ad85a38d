//! A small HTTP server that misbehaves on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request, header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request by `handler`, which writes the whole answer; the connection is then closed.
    pub(crate) fn start<H>(handler: H) -> Server
    where
        H: Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, log) = (Arc::new(handler), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                std::thread::spawn(move || {
                    if let Some((request, mut stream)) = read_request(stream) {
                        log.lock().unwrap().push(request.clone());
                        handler(&request, &mut stream);
                    }
                });
            }
        });
        Server { url, requests }
    }

    /// Serves these files by path, with an `ETag` of their length and ranges, everything else is 404.
    pub(crate) fn files(files: &[(&str, &[u8])]) -> Server {
        let files: HashMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        Server::start(move |request, stream| match files.get(&request.path) {
            Some(bytes) => serve(request, stream, bytes, "\"v1\""),
            None => answer(stream, "404 Not Found", &[], b"no"),
        })
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A file with an `ETag`, conditional requests and ranges.
pub(crate) fn serve(request: &Request, stream: &mut TcpStream, bytes: &[u8], etag: &str) {
    if request.headers.get("if-none-match").is_some_and(|known| known == etag) {
        return answer(stream, "304 Not Modified", &[("ETag", etag)], b"");
    }
    let start =
        range_start(request).filter(|_| request.headers.get("if-range").is_some_and(|held| held == etag));
    match start {
        Some(start) if start < bytes.len() => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            answer(
                stream,
                "206 Partial Content",
                &[("ETag", etag), ("Content-Range", &range)],
                &bytes[start..],
            );
        }
        Some(_) => answer(stream, "416 Range Not Satisfiable", &[], b""),
        None => answer(stream, "200 OK", &[("ETag", etag)], bytes),
    }
}

pub(crate) fn range_start(request: &Request) -> Option<usize> {
    request.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

pub(crate) fn answer(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    head(stream, status, headers, body.len());
    drop(stream.write_all(body));
}

/// Only the head, announcing a body of `length` bytes.
pub(crate) fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], length: usize) {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    drop(stream.write_all(text.as_bytes()));
}

fn read_request(stream: TcpStream) -> Option<(Request, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((Request { method, path, headers, body }, reader.into_inner()))
}
