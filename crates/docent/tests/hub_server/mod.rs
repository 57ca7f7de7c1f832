//! A small hub on this machine: answers as the real one does, writes down what it was asked, and misbehaves on request.

#![allow(dead_code)] // each test binary uses its part of it

pub(crate) mod place;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::Digest as _;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// The first byte of `Range: bytes=N-`.
    pub(crate) fn range(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// `Content-Length`, where it is not the body's.
    pub(crate) length: Option<usize>,
    /// Close the connection after so many bytes of the body ...
    pub(crate) cut: Option<usize>,
    /// ... but wait this long before that.
    pub(crate) hang: Duration,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn hang(mut self, time: Duration) -> Reply {
        self.hang = time;
        self
    }
}

/// The repositories of a hub.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repos(BTreeMap<String, BTreeMap<String, Vec<u8>>>);

impl Repos {
    pub(crate) fn with(mut self, repo: &str, file: &str, content: impl AsRef<[u8]>) -> Repos {
        self.0.entry(repo.to_owned()).or_default().insert(file.to_owned(), content.as_ref().to_vec());
        self
    }

    /// What the real hub answers, without its store behind another host.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        for (repo, files) in &self.0 {
            if request.path.starts_with(&format!("/api/models/{repo}/revision/")) {
                let siblings: Vec<String> = files.keys().map(|name| format!("{{\"rfilename\": {name:?}}}")).collect();
                let body = format!("{{\"id\": {repo:?}, \"sha\": {COMMIT:?}, \"siblings\": [{}]}}", siblings.join(","));
                return Reply { status: 200, body: body.into_bytes(), ..Reply::default() };
            }
            let Some(rest) = request.path.strip_prefix(&format!("/{repo}/resolve/")) else { continue };
            let Some((revision, file)) = rest.split_once('/') else { continue };
            let known = revision == "main" || revision == COMMIT;
            if let Some(content) = files.get(file).filter(|_| known) {
                return file_reply(file, content, request);
            }
        }
        Reply::status(404)
    }
}

/// A file with the headers of the hub: large ones are named by SHA-256, small ones by git's hash.
pub(crate) fn file_reply(name: &str, content: &[u8], request: &Request) -> Reply {
    let large = name.ends_with(".gguf") || name.ends_with(".safetensors");
    let reply = match request.range().filter(|&from| from < content.len()) {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            Reply { status: 206, body: content[from..].to_vec(), ..Reply::default() }.header("content-range", range)
        }
        None if request.range().is_some() => Reply::status(416),
        None => Reply { status: 200, body: content.to_vec(), ..Reply::default() },
    };
    let reply = reply.header("x-repo-commit", COMMIT);
    if large {
        reply
            .header("etag", "\"of the store\"")
            .header("x-linked-etag", format!("\"{}\"", sha256(content)))
            .header("x-linked-size", content.len())
    } else {
        reply.header("etag", format!("\"{}\"", git_sha1(content)))
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn git_sha1(content: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hasher.update(content);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server; its thread ends with the process.
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (log, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (answer, thread_log, thread_connections) = (Arc::new(answer), log.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                thread_connections.fetch_add(1, Ordering::SeqCst);
                let (answer, log) = (answer.clone(), thread_log.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read_request(&stream) {
                        log.lock().unwrap().push(request.clone());
                        let reply = answer(&request);
                        // The client may be gone, or killed by the test.
                        let _ = write_reply(&stream, &request, &reply);
                    }
                });
            }
        });
        Server { url, log, connections }
    }

    /// A hub with these repositories that does everything right.
    pub(crate) fn hub(repos: Repos) -> Server {
        Server::start(move |request| repos.answer(request))
    }

    /// An address where nobody listens.
    pub(crate) fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The requests for contents.
    pub(crate) fn gets(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.method == "GET" && !r.path.starts_with("/api/")).collect()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

fn write_reply(mut stream: &TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    if reply.hang > Duration::ZERO && reply.cut.is_none() {
        std::thread::sleep(reply.hang);
        return Ok(());
    }
    let length = reply.length.unwrap_or(reply.body.len());
    let mut head = format!("HTTP/1.1 {} Reason\r\nConnection: close\r\nContent-Length: {length}\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
        stream.write_all(&reply.body[..end])?;
        stream.flush()?;
        std::thread::sleep(reply.hang);
    }
    stream.shutdown(std::net::Shutdown::Both)
}
