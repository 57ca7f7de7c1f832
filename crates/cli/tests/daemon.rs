//! A daemon, and searches with and without it.

#![cfg(unix)] // it listens on a Unix socket
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use common::{TINY, docent, failure, fixture, stdout};
use serde_json::Value;
use tempfile::TempDir;

/// An index with a daemon's socket beside it, which is told to stop in the end.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: TempDir::new().unwrap() };
        place.index(&[
            ("cat.md", "# Cats\n\nThe cat sat on the mat.\n"),
            ("tides.md", "# Tides\n\nThe moon pulls the water of the sea.\n"),
        ]);
        place
    }

    /// Makes the index, in place of one that may be there.
    fn index(&self, notes: &[(&str, &str)]) {
        for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.collections.json"] {
            let _ = fs::remove_file(self.path(name));
        }
        let _ = fs::remove_dir_all(self.path("notes"));
        fs::create_dir(self.path("notes")).unwrap();
        for (name, text) in notes {
            fs::write(self.path("notes").join(name), text).unwrap();
        }
        stdout(
            self.docent(&["collection", "add", "-m", TINY, "--index"])
                .arg(self.path("index.sqlite"))
                .arg(self.path("notes")),
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn docent(&self, arguments: &[&str]) -> Command {
        let mut command = docent();
        command.env("DOCENT_DAEMON", self.path("run/daemon.sock")).args(arguments);
        command
    }

    /// A search of the index with the small model.
    fn search(&self, arguments: &[&str]) -> Command {
        let mut command = self.docent(arguments);
        command.args(["-m", TINY, "--index"]).arg(self.path("index.sqlite"));
        command
    }

    fn status(&self) -> Value {
        serde_json::from_str(&stdout(&mut self.docent(&["daemon", "status", "--json"]))).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("run/daemon.log")).unwrap()
    }

    /// Answers one connection on the daemon's socket with these bytes.
    fn pretend(&self, answer: &'static [u8]) -> std::thread::JoinHandle<String> {
        fs::create_dir_all(self.path("run")).unwrap();
        let _ = fs::remove_file(self.path("run/daemon.sock"));
        let listener = UnixListener::bind(self.path("run/daemon.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 64];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.docent(&["daemon", "stop"]).output();
    }
}

/// What a command that succeeds says on stderr.
fn note(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn searches_are_the_same_with_and_without_a_daemon() {
    let place = Place::new();
    let judge = fixture("encoders/modern-bert-rerank").display().to_string();
    let searches: [&[&str]; 4] = [
        &["vsearch", "moon", "--json", "--min-score", "0"],
        &["query", "what moves the sea?", "--json", "--explain", "--full"],
        &["query", "what moves the sea?", "--json", "--explain", "--reranker", &judge],
        &["query", "lex: moon\nvec: what moves the sea\nintent: astronomy", "--json", "--fusion", "ranks", "--explain"],
    ];
    let alone: Vec<String> = searches.iter().map(|search| stdout(&mut place.search(search))).collect();
    assert!(note(&mut place.docent(&["daemon", "start"])).contains("the daemon runs, as process"));
    for (search, alone) in searches.iter().zip(&alone) {
        assert_eq!(&stdout(&mut place.search(search)), alone);
    }
    let status = place.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["indexes"][0], place.path("index.sqlite").display().to_string());
    assert_eq!(status["models"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(place.log().matches("/search\" status=200").count(), searches.len());

    // What it has no say in does not reach it.
    for options in [&["--no-daemon"][..], &["--threads", "1"]] {
        stdout(place.search(searches[0]).args(options));
    }
    stdout(place.search(searches[0]).env("DOCENT_DAEMON", "off"));
    assert_eq!(place.log().matches("/search\"").count(), searches.len());

    // What is wrong is said as without it.
    let wrong = ["query", "lex: \"moon"];
    let message = failure(&mut place.search(&wrong), 2);
    assert_eq!(message, failure(place.search(&wrong).arg("--no-daemon"), 2));
    let wrong = ["vsearch", "moon", "-c", "nothing"];
    let message = failure(&mut place.search(&wrong), 1);
    assert_eq!(message, failure(place.search(&wrong).arg("--no-daemon"), 1));

    assert!(note(&mut place.docent(&["daemon", "start"])).contains("runs already"));
    let before = place.status()["process"].clone();
    note(&mut place.docent(&["daemon", "restart"]));
    assert_ne!(place.status()["process"], before);
    stdout(&mut place.docent(&["daemon", "stop"]));
    assert!(failure(&mut place.docent(&["daemon", "status"]), 1).starts_with("no daemon runs at "));
    assert!(note(&mut place.docent(&["daemon", "stop"])).contains("no daemon runs at "));
    assert!(!place.path("run/daemon.sock").exists());
}

#[test]
fn an_index_that_was_replaced_is_opened_anew() {
    let place = Place::new();
    note(&mut place.docent(&["daemon", "start"]));
    let search = ["vsearch", "moon", "--files", "--min-score", "0"];
    assert_eq!(stdout(&mut place.search(&search)).lines().count(), 2);
    place.index(&[("dog.md", "# Dogs\n\nThe dog barks at the moon.\n")]);
    let found = stdout(&mut place.search(&search));
    assert!(found.lines().count() == 1 && found.contains("dog.md"), "{found}");
    assert_eq!(place.log().matches("/search\" status=200").count(), 2);
}

#[test]
fn a_model_that_was_replaced_is_opened_anew() {
    let place = Place::new();
    let model = place.path("model");
    let put = |fixture_name: &str| {
        let _ = fs::remove_dir_all(&model);
        let copied = std::process::Command::new("cp").arg("-r").arg(fixture(fixture_name)).arg(&model).status();
        assert!(copied.unwrap().success());
    };
    let run = |arguments: &[&str]| {
        let mut command = place.docent(arguments);
        command.arg("-m").arg(&model).arg("--index").arg(place.path("index.sqlite"));
        stdout(&mut command)
    };
    let search = ["vsearch", "moon", "--json", "--min-score", "0"];
    note(&mut place.docent(&["daemon", "start"]));
    let mut answers = Vec::new();
    for fixture_name in ["bert-tiny", "bert-variants/distilbert", "bert-tiny"] {
        put(fixture_name);
        run(&["update"]);
        answers.push(run(&search));
        assert_eq!(answers.last(), Some(&run(&[&search[..], &["--no-daemon"]].concat())), "{fixture_name}");
    }
    assert!(answers[0] == answers[2] && answers[0] != answers[1]);
    assert_eq!(place.log().matches("/search\" status=200").count(), 3);
}

#[test]
fn a_socket_may_be_named_from_where_one_is() {
    let place = Place::new();
    let run = |arguments: &[&str]| {
        let mut command = docent();
        command.current_dir(place.folder.path()).env("DOCENT_DAEMON", "run/daemon.sock").args(arguments);
        note(&mut command)
    };
    assert!(run(&["daemon", "start"]).contains("the daemon runs, as process"));
    assert!(place.status()["process"].is_u64());
    run(&["daemon", "stop"]);
}

#[test]
fn a_daemon_that_is_none_is_done_without() {
    let place = Place::new();
    let search = ["vsearch", "moon", "--json", "--min-score", "0"];
    let alone = stdout(&mut place.search(&search));
    // A socket that nobody listens on any more.
    fs::create_dir(place.path("run")).unwrap();
    drop(UnixListener::bind(place.path("run/daemon.sock")).unwrap());
    assert_eq!(stdout(&mut place.search(&search)), alone);
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", b"SSH-2.0-x\r\n"] {
        let pretended = place.pretend(answer);
        assert_eq!(stdout(&mut place.search(&search)), alone);
        assert!(pretended.join().unwrap().starts_with("POST /daemon/"));
    }
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 32\r\n\r\n{\"error\":{\"code\":\"unknown_url\"}}";
    let pretended = place.pretend(answer);
    assert!(note(&mut place.search(&search)).contains("`docent daemon restart`"));
    pretended.join().unwrap();
}

#[test]
fn a_daemon_ends_when_it_is_told_to() {
    let place = Place::new();
    let program = common::DOCENT;
    let mut child = std::process::Command::new(program)
        .env_clear()
        .env("HOME", place.folder.path())
        .env("DOCENT_DAEMON", place.path("run/daemon.sock"))
        .args(["daemon", "run", "--idle", "60"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !place.docent(&["daemon", "status"]).output().unwrap().status.success() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come up");
    }
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!place.path("run/daemon.sock").exists());

    let message = failure(docent().env("DOCENT_DAEMON", "off").args(["daemon", "start"]), 1);
    assert!(message.contains("no daemon is wanted"), "{message}");
    // A folder where the socket should be: the daemon's own words reach whoever starts it.
    fs::create_dir_all(place.path("run/daemon.sock")).unwrap();
    let message = failure(&mut place.docent(&["daemon", "start"]), 1);
    assert!(message.contains("exists and is no socket") || message.contains("Is a directory"), "{message}");
    fs::remove_dir(place.path("run/daemon.sock")).unwrap();
}
