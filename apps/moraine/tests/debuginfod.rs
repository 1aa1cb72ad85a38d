//! Debug information of a package that Boulder built, found by the debuginfod client that debuggers use.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use stone::{Digest, Entry, EntryFile, Limits};
use testkit::Tarball;

const MAKEFILE: &str = "\
greet: main.c
\t$(CC) $(CFLAGS) -o $@ $< $(LDFLAGS)
install:
\tinstall -D -m 0755 greet $(DESTDIR)/usr/bin/greet
";

const FILES: [(&str, &str); 2] = [
    ("Makefile", MAKEFILE),
    ("main.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"),
];

/// A server that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn moraine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moraine"))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a package with a program in it, and answers the file of its debug package.
fn build(folder: &Path, packages: &Path) -> PathBuf {
    let tarball = Tarball::pack(folder, "greet-1.0", &FILES);
    let recipe = folder.join("recipe");
    fs_err::create_dir_all(&recipe).unwrap();
    let text = format!(
        "name: greet\nversion: \"1.0\"\nrelease: 3\nhomepage: https://example.org\nlicense: MIT\n\
         summary: Greets\ndescription: Greets whoever asks.\nupstreams:\n    - {}: {}\n\
         build: |\n    %make CC=\"$CC\" CFLAGS=\"$CFLAGS\" LDFLAGS=\"$LDFLAGS\"\n\
         install: |\n    %make_install\n",
        tarball.url(),
        tarball.sha256
    );
    fs_err::write(recipe.join("stone.yaml"), text).unwrap();
    let mut command = moraine();
    command
        .args(["boulder", "build"])
        .arg(&recipe)
        .args(["--root", "host", "--mirror", "none", "--jobs", "2"]);
    succeed(command.arg("--cache-dir").arg(folder.join("cache")).arg("--output").arg(packages));
    let mut files = fs_err::read_dir(packages).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_string_lossy().contains("/greet-dbginfo-")).unwrap()
}

/// The build id and the digest of the debug information in a package.
fn debug_information(package: &Path) -> (String, Digest) {
    let file = BufReader::new(fs_err::File::open(package).unwrap());
    let stone = stone::read_records(file, &Limits::default()).unwrap();
    let found = stone.layout.iter().find_map(|Entry { target, file, .. }| {
        let id = target.strip_prefix("lib/debug/.build-id/")?.strip_suffix(".debug")?.replace('/', "");
        match file {
            EntryFile::Regular(digest) => Some((id, *digest)),
            _ => None,
        }
    });
    found.unwrap()
}

fn serve(data: &Path) -> (Server, String) {
    let key = succeed(moraine().args(["vessel", "key", "--data"]).arg(data)).trim().to_owned();
    let mut child = moraine()
        .args([
            "vessel",
            "serve",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--json",
            "--hub-key",
            &key,
        ])
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let server = Server(child);
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    (server, format!("http://{}", addresses["http"].as_str().unwrap()))
}

/// The head of the answer to a request for the head alone.
fn head(url: &str, path: &str) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_debugger_finds_the_debug_information_of_a_program_by_its_build_id() {
    if !testkit::has_programs(&["cc", "make", "tar", "strip", "objcopy", "debuginfod-find"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (packages, data) = (folder.path().join("packages"), folder.path().join("vessel"));
    let package = build(folder.path(), &packages);
    let (build_id, digest) = debug_information(&package);
    succeed(moraine().args(["vessel", "import"]).arg(&packages).arg("--data").arg(&data));
    let (server, url) = serve(&data);
    let find = |kind: &str, id: &str, cache: &str| {
        let mut command = Command::new("debuginfod-find");
        command.args([kind, id]).env("DEBUGINFOD_URLS", format!("{url}/"));
        command.env("DEBUGINFOD_CACHE_PATH", folder.path().join(cache)).output().unwrap()
    };
    let found = find("debuginfo", &build_id, "first");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let path = String::from_utf8(found.stdout).unwrap();
    let bytes = fs_err::read(path.trim()).unwrap();
    assert_eq!(Digest::of(&bytes), digest, "it is what the package holds");
    assert_eq!(&bytes[..4], b"\x7fELF");
    // Others are served from what was kept.
    assert_eq!(fs_err::read(data.join("debug").join(&build_id)).unwrap(), bytes);
    assert!(find("debuginfo", &build_id, "second").status.success());
    let other = if build_id.starts_with('0') { '1' } else { '0' };
    assert!(
        !find("debuginfo", &build_id.replacen(|_| true, &other.to_string(), 1), "third").status.success()
    );
    // The program itself, from the package beside it.
    let found = find("executable", &build_id, "fourth");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let path = String::from_utf8(found.stdout).unwrap();
    let program = fs_err::read(path.trim()).unwrap();
    let name = package.file_name().unwrap().to_string_lossy().replace("greet-dbginfo-", "greet-");
    let stone = BufReader::new(fs_err::File::open(packages.join(name)).unwrap());
    let layout = stone::read_records(stone, &Limits::default()).unwrap().layout;
    let entry = layout.iter().find(|entry| entry.target == "bin/greet").unwrap();
    assert_eq!(entry.file, EntryFile::Regular(Digest::of(&program)), "it is what the package holds");
    let headers = head(&url, &format!("/buildid/{build_id}/executable"));
    assert!(headers.to_lowercase().contains("x-debuginfod-file: /usr/bin/greet"), "{headers}");
    assert!(
        !find("executable", &build_id.replacen(|_| true, &other.to_string(), 1), "fifth").status.success()
    );

    let headers = head(&url, &format!("/buildid/{build_id}/debuginfo"));
    let has = |line: &str| headers.to_lowercase().lines().any(|found| found == line);
    assert!(has(&format!("x-debuginfod-size: {}", bytes.len())), "{headers}");
    assert!(has(&format!("content-length: {}", bytes.len())), "{headers}");
    let (first, rest) = build_id.split_at(2);
    assert!(has(&format!("x-debuginfod-file: /usr/lib/debug/.build-id/{first}/{rest}.debug")), "{headers}");
    let archive = package.file_name().unwrap().to_string_lossy().to_lowercase();
    assert!(has(&format!("x-debuginfod-archive: {archive}")), "{headers}");
    assert!(has("cache-control: public, max-age=31536000, immutable"), "{headers}");
    drop(server);
}
