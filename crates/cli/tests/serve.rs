//! `docent serve`, and the commands that let it compute.

#![cfg(unix)] // it is stopped by signals
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use common::{TINY, docent, docent_process, fixture};

/// A server, until the end of the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        Self::start_with(args, &fixture("no-cache"))
    }

    fn start_with(args: &[&str], cache: &Path) -> Self {
        let judge = format!("judge={}", fixture("encoders/modern-bert-rerank").display());
        let mut command = docent_process();
        command.env("DOCENT_CACHE", cache);
        command.args(["serve", "--port", "0", "-m", &format!("tiny={TINY}"), "-m", &judge]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Server { child, url: url.trim().to_owned() }
    }

    fn signal(&self, signal: &str) {
        assert!(
            std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Tells it to stop, and gives its exit status and log.
    fn stop(mut self) -> (bool, String) {
        self.signal("-TERM");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().success(), log)
    }

    fn run(&self, args: &[&str]) -> Output {
        docent().args(args).args(["--server", &self.url]).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not there any more, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_server_gives_what_the_command_gives_alone() {
    let server = Server::start(&[]);
    let long = "word ".repeat(300);
    for options in [
        &[][..],
        &["--format", "csv", "--dim", "5"],
        &["--pooling", "none", "--max-length", "9", "--truncate", "left"],
        &["--no-normalize", "--prompt", "query: "],
        &["--format", "json", "--prompt-name", "query"],
    ] {
        let args = [&["embed", "a brown fox", "", &long], options].concat();
        let here = docent().args(&args).args(["-m", TINY]).output().unwrap();
        let there = server.run(&args);
        assert_eq!(stdout(&there), stdout(&here), "{options:?}");
        assert_eq!(String::from_utf8_lossy(&there.stderr), String::from_utf8_lossy(&here.stderr), "{options:?}");
    }
    let judge = fixture("encoders/modern-bert-rerank");
    for options in [&[][..], &["--raw", "--top-n", "2"], &["--windows", "--max-length", "24", "--format", "csv"]] {
        let args = [&["rerank", "--query", "where is the cat", "a dog", "the cat sat", &long], options].concat();
        let here = docent().args(&args).arg("-m").arg(&judge).output().unwrap();
        assert_eq!(stdout(&server.run(&args)), stdout(&here), "{options:?}");
    }
    let (clean, log) = server.stop();
    assert!(clean, "{log}");
}

#[test]
fn a_model_of_the_catalogue_that_is_here_is_loaded_when_it_is_asked_for() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models/bge-small-en-v1.5");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(TINY, folder.join("original")).unwrap();
    let asked = |server: &Server, model: &str| server.run(&["embed", "-m", model, "a text"]);
    let server = Server::start_with(&["--on-demand"], cache.path());
    let mut here = docent();
    here.env("DOCENT_CACHE", cache.path()).args(["embed", "--offline", "-m", "bge-small-en-v1.5", "a text"]);
    assert_eq!(stdout(&asked(&server, "BAAI/bge-small-en-v1.5")), stdout(&here.output().unwrap()));
    // One that is not here is not fetched for a stranger.
    assert!(stderr(&asked(&server, "bge-base-en-v1.5")).contains("there are: tiny, judge, bge-small-en-v1.5"));
    let without = Server::start_with(&[], cache.path());
    assert!(stderr(&asked(&without, "bge-small-en-v1.5")).contains("there are: tiny, judge"));
}

#[test]
fn more_texts_than_a_request_takes_keep_their_places() {
    let server = Server::start(&["--max-items", "300"]);
    let lines: String = (0..700).map(|i| format!("text {i}\n")).collect();
    let here = docent().args(["embed", "-m", TINY]).write_stdin(lines.clone()).output().unwrap();
    let there = docent().args(["embed", "--server", &server.url]).write_stdin(lines).output().unwrap();
    assert_eq!(stdout(&there), stdout(&here));
    let documents: Vec<String> = (0..600).map(|i| format!("document {i}")).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let args = [&["rerank", "--query", "document 17", "-n", "7"], &documents[..]].concat();
    let here = docent().args(&args).arg("-m").arg(fixture("encoders/modern-bert-rerank")).output().unwrap();
    assert_eq!(stdout(&server.run(&args)), stdout(&here));
}

#[test]
fn what_goes_wrong_there_is_told_here() {
    let server = Server::start(&[]);
    assert!(
        stderr(&server.run(&["embed", "-m", "nobody", "x"]))
            .contains("the model `nobody` is not served; there are: tiny, judge")
    );
    assert!(
        stderr(&server.run(&["embed", "-m", "judge", "x"])).contains("judge is a reranker, not an embedding model")
    );
    assert!(stderr(&server.run(&["embed", "--dim", "5000", "x"])).contains("cannot cut vectors to 5000 components"));
    let lines = format!("short\n{}\n", "word ".repeat(300));
    let mut command = docent();
    command.args(["embed", "--truncate", "error", "--server", &server.url]).write_stdin(lines);
    let message = stderr(&command.output().unwrap());
    assert!(message.contains(":2: text 1 has "), "{message}");
    let down = docent().args(["embed", "--server", "http://127.0.0.1:9", "x"]).output().unwrap();
    assert!(stderr(&down).contains("start one with `docent serve`"));
    let both = docent().args(["embed", "--server", &server.url, "--threads", "2", "x"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_key_is_asked_for_and_given() {
    let mut keys = tempfile::NamedTempFile::new().unwrap();
    writeln!(keys, "# for the team\nfirst-key-of-two\nsecond-key-of-two").unwrap();
    let server = Server::start(&["--api-key-file", keys.path().to_str().unwrap()]);
    assert!(stderr(&server.run(&["embed", "x"])).contains("key"));
    let with_key = |key: &str| {
        docent().env("DOCENT_API_KEY", key).env("DOCENT_SERVER", &server.url).args(["embed", "x"]).output().unwrap()
    };
    assert!(with_key("second-key-of-two").status.success());
    assert!(stderr(&with_key("third-key")).contains("key"));
}

#[test]
fn health_is_open_and_a_second_server_is_told_that_the_port_is_taken() {
    let server = Server::start(&["--warm", "--log-format", "json"]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let port = address.rsplit(':').next().unwrap();
    let second = docent().args(["serve", "--port", port, "-m", TINY]).output().unwrap();
    assert!(stderr(&second).contains("is another server running there?"));
    let (clean, log) = server.stop();
    assert!(clean, "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert!(log.contains("\"ready: tiny, judge\""), "{log}");
}

/// `docent serve` as systemd starts it for a socket that it listens on: as its third file.
fn activated(socket: std::os::fd::OwnedFd, sockets: u32) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
    command.args(["-c", script, "sh", common::DOCENT, "serve", "-m", &format!("tiny={TINY}"), "--port", "1"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DOCENT_CACHE", fixture("no-cache"));
    command.env("LISTEN_FDS", sockets.to_string()).stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_socket_of_the_service_manager_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docent.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Who came before the server was started waits for it.
    let mut early = std::os::unix::net::UnixStream::connect(&path).unwrap();
    early.write_all(b"GET /health HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").unwrap();
    for (socket, expected) in
        [(tcp.into(), format!("http://{address}")), (unix.into(), format!("unix:{}", path.display()))]
    {
        let mut child = activated(socket, 1).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let server = Server { child, url: url.trim().to_owned() };
        assert_eq!(server.url, expected);
        if expected.starts_with("http") {
            assert!(stdout(&server.run(&["embed", "x"])).contains(','));
        } else {
            let mut answer = String::new();
            early.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        }
        let (clean, log) = server.stop();
        assert!(clean, "{log}");
    }
    assert!(path.exists(), "the socket is the service manager's");
    let two = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = activated(two.into(), 2).output().unwrap();
    assert!(stderr(&refused).contains("has handed over 2 sockets"));
    let file = std::fs::File::open(folder.path()).unwrap();
    assert!(stderr(&activated(file.into(), 1).output().unwrap()).contains("no socket to listen on"));
}

#[test]
fn wrong_uses_are_told() {
    let fails = |args: &[&str]| {
        let output = docent().arg("serve").args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = fails(&["-m", TINY, "-m", TINY]);
    assert_eq!(code, Some(2));
    assert!(message.contains("two models are to be served as `bert-tiny`"), "{message}");
    let (code, message) = fails(&["--memory", "much"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("expected a number of bytes"), "{message}");
    let (code, message) = fails(&["--port", "0", "-m", "./no-such-model.gguf", "--offline"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("no-such-model.gguf"), "{message}");
    let (code, message) = fails(&["--port", "0", "-m", TINY, "--api-key-file", "/no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("/no/such/file"), "{message}");
}
