//! A farm of its own for each test: a git repository, a Vessel, a Summit in this process or as a program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use summit::store::Store;
use summit::{Clock, ConfigFiles, Running};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::summit::Held;
use wire::{Identity, PublicKey};

use crate::agent::Agent;
use crate::vessel::FakeVessel;

/// Longest wait for something that happens by itself.
const PATIENCE: Duration = Duration::from_secs(90);

/// Names of the builders that a farm knows unless it is told others.
const BUILDERS: [&str; 2] = ["one", "two"];

pub struct Farm {
    folder: TempDir,
    pub vessel: FakeVessel,
    pub clock: Clock,
    pub key: PublicKey,
    pub grpc: String,
    pub http: String,
    pub builders: Vec<Identity>,
    /// What they are called.
    names: Vec<&'static str>,
    /// Where browsers are told to connect to; the port may be any.
    pub http_address: String,
    /// How long an agent may be silent.
    pub lease_seconds: u32,
    /// Further text of the configuration: projects and whatever else.
    pub more: String,
    /// Who may look and change.
    access: String,
    /// Address, key and public address of a Vessel, instead of the one that the farm has.
    another_vessel: Option<(String, PublicKey, String)>,
    /// Further text of the first project.
    more_of_project: String,
    running: Option<Running>,
    pub program: Option<Child>,
}

impl Farm {
    /// A farm in this process; none, after saying so, where there is no git.
    pub async fn start(recipes: &[(&str, &str)]) -> Option<Self> {
        Self::start_with(recipes, |_| String::new()).await
    }

    /// A farm that lets in whoever these lines of `[access]` say.
    pub async fn start_guarded(access: &str, recipes: &[(&str, &str)]) -> Option<Self> {
        let mut farm = Self::prepare(recipes).await?;
        farm.guard(access);
        farm.run().await;
        Some(farm)
    }

    /// A farm whose configuration goes on with `more`, which is told where folders for repositories can be.
    pub async fn start_with(recipes: &[(&str, &str)], more: impl Fn(&Path) -> String) -> Option<Self> {
        let mut farm = Self::prepare(recipes).await?;
        farm.more = more(farm.folder.path());
        farm.run().await;
        Some(farm)
    }

    /// Stops this Summit in order, and starts another one on the same data.
    pub async fn restart(&mut self) {
        self.running.take().unwrap().stop().await;
        self.run().await;
    }

    /// The same, where browsers find it again.
    pub async fn restart_at(&mut self, http: &str) {
        self.http_address = http.to_owned();
        self.restart().await;
    }

    /// Other builders than every farm has, before it runs.
    pub fn call_builders(&mut self, names: &[&'static str]) {
        self.names = names.to_vec();
        self.builders = names.iter().map(|_| Identity::generate().unwrap()).collect();
    }

    /// Lets in whoever these lines of `[access]` say, from the next start on.
    pub fn guard(&mut self, access: &str) {
        self.access = access.to_owned();
    }

    /// Publishes to another Vessel from the next start on.
    pub fn publish_to(&mut self, address: &str, key: PublicKey, public_url: &str) {
        self.another_vessel = Some((address.to_owned(), key, public_url.to_owned()));
    }

    pub async fn run(&mut self) {
        fs_err::write(self.config_file(), self.config()).unwrap();
        let files = ConfigFiles::new(&self.config_file(), None);
        let running = summit::start_from(files, &self.data(), self.clock.clone()).await.unwrap();
        self.grpc = running.grpc_address().to_string();
        self.http = running.http_address().to_string();
        self.running = Some(running);
    }

    /// A farm with the real program, that can be killed.
    pub async fn start_program(recipes: &[(&str, &str)]) -> Option<Self> {
        let mut farm = Self::prepare(recipes).await?;
        farm.start_again().await;
        Some(farm)
    }

    /// A farm that is not started yet.
    pub async fn prepare(recipes: &[(&str, &str)]) -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            testkit::skip("git");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let public = folder.path().join("public");
        fs_err::create_dir_all(&public).unwrap();
        let vessel = FakeVessel::start(&public).await;
        let data = folder.path().join("data");
        fs_err::create_dir_all(&data).unwrap();
        let key = summit::identity(&data).unwrap().public_key();
        vessel.trust(key);
        let farm = Self {
            vessel,
            clock: Clock::system(),
            key,
            grpc: String::new(),
            http: String::new(),
            builders: BUILDERS.iter().map(|_| Identity::generate().unwrap()).collect(),
            names: BUILDERS.to_vec(),
            http_address: testkit::steady_address().to_string(),
            lease_seconds: 60,
            more: String::new(),
            access: "loopback_is_operator = true".into(),
            another_vessel: None,
            more_of_project: String::new(),
            running: None,
            program: None,
            folder,
        };
        farm.commit(recipes);
        Some(farm)
    }

    fn config_file(&self) -> std::path::PathBuf {
        self.folder.path().join("summit.toml")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the configuration while Summit runs.
    pub fn configure(&mut self, more: &str) {
        self.more = more.to_owned();
        self.write_configuration();
    }

    /// Changes the first project while Summit runs.
    pub fn configure_project(&mut self, more: &str) {
        self.more_of_project = more.to_owned();
        self.write_configuration();
    }

    fn write_configuration(&self) {
        fs_err::write(self.config_file(), self.config()).unwrap();
        self.running.as_ref().unwrap().look_at_configuration();
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// The folder with its recipes, which [`Farm::commit`] commits as it is.
    pub fn recipes(&self) -> std::path::PathBuf {
        let folder = self.folder.path().join("recipes");
        fs_err::create_dir_all(&folder).unwrap();
        folder
    }

    fn config(&self) -> String {
        let builders: String = self
            .names
            .iter()
            .zip(&self.builders)
            .map(|(name, identity)| {
                format!("[[builder]]\nname = \"{name}\"\npublic_key = \"{}\"\n", identity.public_key())
            })
            .collect();
        let public = format!("file://{}", self.folder.path().join("public").display());
        let own = || (self.vessel.address.clone(), self.vessel.key, public);
        let (address, key, public_url) = self.another_vessel.clone().unwrap_or_else(own);
        format!(
            "http_address = \"{}\"\ngrpc_address = \"127.0.0.1:0\"\npoll_seconds = 3600\nlease_seconds = {}\n\
             [access]\n{}\n[[project]]\nname = \"test\"\nrecipes = \"{}\"\n{}\
             [vessel]\naddress = \"{address}\"\npublic_key = \"{key}\"\npublic_url = \"{public_url}\"\n{builders}{}",
            self.http_address,
            self.lease_seconds,
            self.access,
            self.recipes().display(),
            self.more_of_project,
            self.more,
        )
    }

    /// Kills the program as `kill -9` does.
    pub fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
    }

    pub async fn start_again(&mut self) {
        fs_err::write(self.config_file(), self.config()).unwrap();
        let mut command = self.command();
        let mut program = command.stdout(Stdio::piped()).stderr(self.log_file()).spawn().unwrap();
        let output = program.stdout.take().unwrap();
        let lines = tokio::task::spawn_blocking(move || {
            BufReader::new(output).lines().take(2).map(Result::unwrap).collect::<Vec<_>>()
        });
        let lines = lines.await.unwrap();
        self.http = lines[0].strip_prefix("dashboard: http://").unwrap().trim_end_matches('/').to_owned();
        self.grpc = lines[1].split(' ').nth(1).unwrap().to_owned();
        self.program = Some(program);
    }

    /// The program, on the data of this farm.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_summit"));
        command.args(["serve", "--data"]).arg(self.data()).arg("--config").arg(self.config_file());
        command
    }

    /// What the program says goes there.
    fn log_file(&self) -> Stdio {
        let path = self.folder.path().join("summit.log");
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        Stdio::from(file.into_file())
    }

    /// Commits these recipes, besides those that are there.
    pub fn commit(&self, recipes: &[(&str, &str)]) {
        commit_in(&self.recipes(), recipes);
    }

    pub fn remove(&self, folder: &str) {
        fs_err::remove_dir_all(self.recipes().join(folder)).unwrap();
        self.commit(&[]);
    }

    pub async fn attach(&self, name: &str, slots: u32, held: &[Held]) -> Agent {
        let place = self.names.iter().position(|builder| *builder == name).unwrap();
        Agent::attach(&self.grpc, self.key, &self.builders[place], name, slots, held).await.unwrap()
    }

    /// Where browsers connect to.
    pub fn http(&self) -> &str {
        &self.http
    }

    pub async fn store(&self) -> Store {
        summit::open_store(&self.data()).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let (code, body) = self.request("GET", path, &[]).await;
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        let (code, body) = self.request("GET", path, &[]).await;
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    pub async fn post(&self, path: &str) -> (u16, Value) {
        let (code, body) = self.request("POST", path, &["X-Moraine: 1"]).await;
        (code, serde_json::from_str(&body).unwrap())
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_json_with(path, &["X-Moraine: 1"], body).await
    }

    pub async fn post_json_with(&self, path: &str, headers: &[&str], body: &Value) -> (u16, Value) {
        let headers = [headers, &["Content-Type: application/json"]].concat();
        let (code, body) = self.request_with("POST", path, &headers, &body.to_string()).await;
        (code, serde_json::from_str(&body).unwrap())
    }

    /// Makes a token on the data folder, as an operator does.
    pub fn token(&self, name: &str, scopes: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_summit"));
        command.args(["token", "add", name, "--data"]).arg(self.data());
        for scope in scopes {
            command.args(["--scope", scope]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Signs in as a browser does, and answers the header with the cookie.
    pub async fn sign_in(&self, token: &str) -> String {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let answer = self.whole("POST", "/sign-in", &[kind], &format!("token={token}&next=/")).await;
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        format!("Cookie: {}", cookie.split(';').next().unwrap())
    }

    /// One request on a connection of its own. Chunked bodies are returned with their chunk lines.
    pub async fn request(&self, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
        self.request_with(method, path, headers, "").await
    }

    async fn request_with(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let answer = self.whole(method, path, headers, body).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-security-policy"), "every answer carries the policy: {head}");
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body.to_owned())
    }

    /// An answer with its head.
    pub async fn whole(&self, method: &str, path: &str, headers: &[&str], body: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(&self.http).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.http,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer comes in time").unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub async fn until_status(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let status = self.get("/api/status").await;
            if wanted(&status) {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the status stays {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill().ok();
            program.wait().ok();
        }
    }
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Commits these recipes in the repository at `folder`, which is made when there is none.
pub fn commit_in(folder: &Path, recipes: &[(&str, &str)]) {
    if !folder.join(".git").is_dir() {
        fs_err::create_dir_all(folder).unwrap();
        git(folder, &["init", "--quiet", "--initial-branch=main", "."]);
    }
    for (name, text) in recipes {
        fs_err::create_dir_all(folder.join(name)).unwrap();
        fs_err::write(folder.join(name).join("stone.yaml"), text).unwrap();
    }
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "recipes"]);
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}
