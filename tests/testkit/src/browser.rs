//! A real Chromium for tests, driven through `chromedriver` as W3C's WebDriver says, with what only Chromium can do through its
//! own protocol: sizes of screens, dark and light, the network it used.
//!
//! It talks to nobody but the address that is opened: what a page asks of others is seen in [`Browser::requests`] and fails. Pictures of
//! pages are kept below `target/screenshots`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{has_programs, skip, workspace_root};

/// Longest wait for anything in a page; ten times what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait for one answer of the driver. A page is loaded within one.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// Pixels of a picture above which it is cut: nobody looks at more.
const PICTURE_HEIGHT_MAX: u64 = 8000;

/// What Chromium is told: no screen, nothing of its own over the network, nothing kept.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-breakpad",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE localhost",
];

/// One at a time: two of them slow each other down until limits are missed.
static TURN: Mutex<()> = Mutex::new(());

/// What keys are called in [`Browser::press`].
pub mod keys {
    /// On to the next thing that can be used.
    pub const TAB: &str = "\u{e004}";
    /// Do it.
    pub const ENTER: &str = "\u{e007}";
    /// Leave it.
    pub const ESCAPE: &str = "\u{e00c}";
    /// The same key as on the keyboard.
    pub const SPACE: &str = " ";
    /// Arrows.
    pub const LEFT: &str = "\u{e012}";
    /// Arrows.
    pub const UP: &str = "\u{e013}";
    /// Arrows.
    pub const RIGHT: &str = "\u{e014}";
    /// Arrows.
    pub const DOWN: &str = "\u{e015}";
}

/// Light or dark, as the reader's system asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on a light ground.
    Light,
    /// Light text on a dark ground.
    Dark,
}

impl Scheme {
    /// In a word, also in names of files.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        }
    }
}

/// A browser with one window. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts one. `None`, after saying so, where Chromium or its driver is missing.
    ///
    /// # Panics
    /// When it does not start: a test cannot go on.
    #[must_use]
    #[expect(clippy::unwrap_used, clippy::panic, reason = "a test's own way to fail")]
    pub fn start() -> Option<Browser> {
        if !has_programs(&["chromium", "chromedriver"]) {
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new("mktemp").args(["-d", "-t", "moraine-browser-XXXXXX"]).output().unwrap();
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // Taken and given back at once: the driver has no way to say which port it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs_err::File::create(folder.join("driver.log")).unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.into_file()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Browser { driver, address, session: String::new(), folder, _turn: turn };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begin.elapsed() > PATIENCE {
                panic!("chromedriver does not listen");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", browser.folder.join("profile").display()));
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
            "pageLoadStrategy": "normal",
            "timeouts": { "script": 120_000, "pageLoad": 120_000 },
        } } });
        let made = browser.ask("POST", "/session", &capabilities);
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    /// Opens an address, and waits until the page is loaded.
    pub fn open(&self, address: &str) {
        self.post("url", &json!({ "url": address }));
    }

    /// The address of the page that is shown.
    #[must_use]
    pub fn address(&self) -> String {
        self.get("url").as_str().unwrap_or_default().to_owned()
    }

    /// How large the window is. Below 600 pixels it is a telephone's.
    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.chromium("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the reader's system asks for.
    pub fn scheme(&self, scheme: Scheme) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme.keyword() }]);
        self.chromium("Emulation.setEmulatedMedia", &json!({ "media": "", "features": features }));
    }

    /// As on paper, until [`Browser::scheme`] is said again.
    pub fn as_printed(&self) {
        self.chromium("Emulation.setEmulatedMedia", &json!({ "media": "print", "features": [] }));
    }

    /// Whether pages may run scripts. Those of this test run in any case.
    pub fn scripts(&self, allowed: bool) {
        self.chromium("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Cuts the page off from the network, or gives it back.
    pub fn offline(&self, offline: bool) {
        self.chromium("Network.enable", &json!({}));
        let conditions =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.chromium("Network.emulateNetworkConditions", &conditions);
    }

    /// A script that runs in every page before its own.
    pub fn before_pages(&self, script: &str) {
        self.chromium("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
    }

    /// The body of a function: what it returns. `arguments` has what is given along.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// The body of an async function: what it returns in the end.
    pub fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             (async () => {{ {script} }})().then(done, (error) => done({{ error: String(error) }}));"
        );
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page, and gives what it is.
    ///
    /// # Panics
    /// When it never is: then `what` did not happen.
    #[expect(clippy::panic, reason = "a test's own way to fail")]
    pub fn until(&self, what: &str, expression: &str) -> Value {
        let begin = Instant::now();
        loop {
            let value = self.run(&format!("return ({expression});"), &[]);
            let is_true = !matches!(&value, Value::Null | Value::Bool(false)) && value != "" && value != 0;
            if is_true {
                return value;
            }
            if begin.elapsed() > PATIENCE {
                let text = self.run("return document.body.innerText;", &[]);
                panic!(
                    "never: {what}\non the page {}:\n{}",
                    self.address(),
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text of the first element that a selector finds, as it is shown.
    pub fn text(&self, selector: &str) -> String {
        let text = self.run(
            "const found = document.querySelector(arguments[0]); return found ? found.innerText : null;",
            &[json!(selector)],
        );
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on the first element that a selector finds, as a mouse does.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Types a text into a field.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys one after the other, wherever the focus is; see [`keys`].
    pub fn press(&self, pressed: &str) {
        let strokes: Vec<Value> = pressed
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let source = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("actions", &json!({ "actions": [source] }));
    }

    /// Keeps a picture of the whole page as `target/screenshots/NAME.png`, and says where.
    ///
    /// # Panics
    /// When it cannot be kept.
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn screenshot(&self, name: &str) -> PathBuf {
        // Parts that stick to the top of the window would hang in the middle of a long page.
        let size = self.run(
            "scrollTo(0, 0); const page = document.documentElement; return [page.clientWidth, page.scrollHeight];",
            &[],
        );
        let (width, height) = (size[0].as_u64().unwrap(), size[1].as_u64().unwrap().min(PICTURE_HEIGHT_MAX));
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let picture = self.chromium(
            "Page.captureScreenshot",
            &json!({ "format": "png", "captureBeyondViewport": true, "clip": clip }),
        );
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let folder = target_folder().join("screenshots");
        fs_err::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        fs_err::write(&path, bytes).unwrap();
        path
    }

    /// Addresses that were asked for since the last call, by pages and by Chromium for them.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let told = |message: &Value| {
            let text = message["message"].as_str()?;
            let message = serde_json::from_str::<Value>(text).ok()?["message"].take();
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        // The first tab is a page of Chromium itself.
        let of_pages = |address: &String| !address.starts_with("chrome://");
        self.log("performance").iter().filter_map(told).filter(of_pages).collect()
    }

    /// What pages complained about since the last call: errors of scripts, what the content policy forbade.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let severe = |message: &Value| {
            (message["level"] == "SEVERE").then(|| message["message"].as_str().map(str::to_owned))?
        };
        self.log("browser").iter().filter_map(severe).collect()
    }

    /// What axe-core finds that is serious or critical, a line each. `None`, after saying so, where it is not installed.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[expect(clippy::unwrap_used, clippy::panic, reason = "a test's own way to fail")]
    pub fn barriers(&self) -> Option<Vec<String>> {
        let path = target_folder().join("tools/node_modules/axe-core/axe.min.js");
        let Ok(script) = fs_err::read_to_string(&path) else {
            skip("axe-core (npm install --prefix target/tools axe-core)");
            return None;
        };
        self.run(&format!("{script}; window.axe = axe;"), &[]);
        let found = self.run_async(
            "const found = await window.axe.run(document, { resultTypes: ['violations'] }); \
             return found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)) \
                 .flatMap((one) => one.nodes.map((node) => `${one.impact} ${one.id}: ${node.target.join(' ')}: ${node.failureSummary.replaceAll('\\n', ' ')}`));",
        );
        match found.as_array() {
            Some(lines) => Some(lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()),
            None => panic!("axe-core does not run: {found}"),
        }
    }

    /// A command of Chromium's own protocol.
    pub fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        match self.post("se/log", &json!({ "type": kind })) {
            Value::Array(messages) => messages,
            _ => Vec::new(),
        }
    }

    #[expect(clippy::panic, reason = "a test's own way to fail")]
    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        match id {
            Some(id) => id.to_owned(),
            None => panic!("no element {selector:?} on the page {}", self.address()),
        }
    }

    fn get(&self, what: &str) -> Value {
        self.ask("GET", &format!("/session/{}/{what}", self.session), &Value::Null)
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{what}", self.session), body)
    }

    #[expect(clippy::panic, reason = "a test's own way to fail")]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        match exchange(self.address, method, path, body) {
            Ok(mut answer) if answer["value"].get("error").is_some_and(|error| error.is_string()) => {
                let error = answer["value"].take();
                panic!("{method} {path}: {}: {}", error["error"], error["message"]);
            }
            Ok(mut answer) => answer["value"].take(),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It may be gone already; then nothing is left to end.
            drop(exchange(self.address, "DELETE", &format!("/session/{}", self.session), &Value::Null));
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
        fs_err::remove_dir_all(&self.folder).ok();
    }
}

/// Where builds and their leftovers are.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// One request to the driver, on a connection of its own.
fn exchange(address: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value, std::io::Error> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    // The driver says how long its answer is, and leaves the connection open.
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        line.clear();
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    serde_json::from_slice(&answer).map_err(std::io::Error::other)
}
