//! `docent mcp` as an agent starts it: messages on stdin and stdout, and a port.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use common::{TINY, docent, docent_process, failure, stdout};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An index of two documents, embedded with a model that their collection names, or not at all.
fn index(embed: bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    std::fs::write(folder.path().join("notes/cat.md"), "# Cats\n\nThe cat sat on the mat.\n").unwrap();
    std::fs::write(folder.path().join("notes/tides.md"), "# Tides\n\nThe moon pulls the water.\n").unwrap();
    let mut add = docent();
    add.args(["collection", "add", "--index"]).arg(folder.path().join("index.sqlite"));
    stdout(add.args(if embed { &["--set-model", TINY][..] } else { &["--no-embed"] }).arg(folder.path().join("notes")));
    folder
}

/// A running `docent mcp`.
struct Agent {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    fn start(folder: &TempDir, arguments: &[&str]) -> Agent {
        let mut command = docent_process();
        command.arg("mcp").args(arguments).arg("--index").arg(folder.path().join("index.sqlite"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Agent { process, input, output }
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }));
        let answer: Value = serde_json::from_str(&self.output.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], method, "{answer}");
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    fn initialize(&mut self) -> Value {
        let client = json!({ "name": "test", "version": "1" });
        let result = self
            .ask("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client }));
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        result
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Closes the input; nothing more comes on stdout, and what came on stderr is given.
    fn end(self) -> String {
        let Agent { mut process, input, mut output } = self;
        drop(input);
        assert!(output.next().is_none());
        let mut log = String::new();
        process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(process.wait().unwrap().success(), "{log}");
        log
    }
}

#[test]
fn an_agent_searches_and_reads_over_stdin_and_stdout() {
    let folder = index(true);
    let mut agent = Agent::start(&folder, &[]);
    let hello = agent.initialize();
    assert_eq!((&hello["protocolVersion"], &hello["serverInfo"]["name"]), (&json!("2025-06-18"), &json!("docent")));
    assert!(hello["instructions"].as_str().unwrap().contains("2 documents in 1 collection"), "{hello}");
    let tools = agent.ask("tools/list", json!({}));
    let tools: Vec<&Value> = tools["tools"].as_array().unwrap().iter().collect();
    assert_eq!(
        tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["query", "get", "multi_get", "status"]
    );
    for tool in tools {
        let annotations = &tool["annotations"];
        assert_eq!((&annotations["readOnlyHint"], &annotations["openWorldHint"]), (&json!(true), &json!(false)));
    }
    // The collection names its model.
    let found = agent.call("query", json!({ "query": "what does the moon do?" }));
    let found = &found["structuredContent"];
    assert!(found["results"].as_array().unwrap().iter().any(|result| result["file"] == "notes/tides.md"), "{found}");
    assert!(found.get("notes").is_none(), "{found}");
    let read = agent.call("get", json!({ "file": "tides.md" }));
    assert_eq!(read["content"][0]["resource"]["uri"], "qmd://notes/tides.md");
    let read = agent.call("multi_get", json!({ "pattern": "*.md" }));
    assert_eq!(read["content"].as_array().unwrap().len(), 2);
    assert_eq!(agent.call("status", json!({}))["structuredContent"]["totalDocuments"], 2);
    assert_eq!(agent.call("get", json!({ "file": "../cat.md" }))["isError"], true);
    assert_eq!(agent.end(), "");
}

#[test]
fn an_agent_finds_words_where_no_model_can_be_had() {
    let folder = index(false);
    let mut agent = Agent::start(&folder, &["--offline"]);
    agent.initialize();
    let found = agent.call(
        "query",
        json!({ "searches": [{ "type": "lex", "query": "moon" }, { "type": "vec", "query": "tides" }] }),
    );
    assert_eq!(found["structuredContent"]["results"][0]["file"], "notes/tides.md", "{found}");
    assert!(found["structuredContent"]["notes"][0].as_str().unwrap().contains("all-MiniLM-L6-v2"), "{found}");
    agent.end();
}

#[test]
fn an_agent_that_says_nothing_or_nonsense_ends_it() {
    let folder = index(false);
    assert_eq!(Agent::start(&folder, &[]).end(), "");
    let mut mcp = docent();
    mcp.args(["mcp", "--index"]).arg(folder.path().join("index.sqlite"));
    let message = failure(mcp.write_stdin("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"), 1);
    assert!(message.contains("expected the request `initialize`"), "{message}");
    let message = String::from_utf8(docent().args(["mcp", "--port", "1"]).output().unwrap().stderr).unwrap();
    assert!(message.contains("--http"), "{message}");
    let message = failure(docent().args(["serve", "--index", "x"]), 2);
    assert!(message.contains("--search"), "{message}");
}

#[test]
fn agents_connect_to_a_port() {
    let folder = index(true);
    let mut command = docent_process();
    command.args(["mcp", "--http", "--port", "0", "--index"]).arg(folder.path().join("index.sqlite"));
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim_end().strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
    let ask = |path: &str, headers: &str, body: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let length = body.len();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "query", "arguments": { "query": "moon" } } });
    let answer = ask("/mcp", "Content-Type: application/json\r\n", &call.to_string());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("notes/tides.md"), "{answer}");
    let answer = ask("/query", "", r#"{"query": "moon"}"#);
    assert!(answer.contains("qmd://notes/tides.md"), "{answer}");
    let answer = ask("/mcp", "Origin: https://evil.example\r\nContent-Type: application/json\r\n", &call.to_string());
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("-32003"), "{answer}");
    process.kill().unwrap();
    process.wait().unwrap();
}
