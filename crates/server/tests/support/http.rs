//! A server on a socket of the loopback address, and a client that says exactly what a test wants said.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use docent_server::{Config, Limits, Listen, Server, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs until it is dropped or told to stop.
pub struct Running {
    pub address: SocketAddr,
    pub service: Service,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<usize>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A connection to a server.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// Times and numbers that a test reaches soon.
pub fn limits() -> Limits {
    Limits {
        read_timeout: Duration::from_millis(600),
        idle_timeout: Duration::from_secs(30),
        drain: Duration::from_secs(5),
        body_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// The fixture's models on any free port, with these limits.
pub fn config() -> Config {
    Config { listen: Listen::Tcp(([127, 0, 0, 1], 0).into()), limits: limits(), ..super::config() }
}

/// The server's routes, and one that takes its time, one that answers at length, and one that panics.
pub fn router(service: Service) -> Router {
    let tests = Router::new()
        .route("/large", get(|| async { "x".repeat(64 << 20) }))
        .route("/slow", post(|| tokio::time::sleep(Duration::from_millis(700))))
        .route("/panic", get(|| async { panic!("on purpose") as String }));
    docent_server::router(service).merge(tests)
}

impl Running {
    pub async fn start(config: Config) -> Self {
        let service = super::service(&config).await;
        Self::start_with(config, service)
    }

    pub fn start_with(config: Config, service: Service) -> Self {
        let router = router(service.clone());
        Self::start_routed(config, service, router)
    }

    pub fn start_routed(config: Config, service: Service, router: Router) -> Self {
        let server = Server::bind(&config, service.clone(), router).unwrap();
        let address = match server.address() {
            Listen::Tcp(address) => *address,
            Listen::Unix(_) => ([0, 0, 0, 0], 0).into(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.serve(async move { drop(stopped.await) }));
        Running { address, service, stop: Some(stop), task }
    }

    pub async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// What is answered to these bytes on a connection of their own.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.answer().await.expect("an answer")
    }

    /// Whether a good request is answered as it should be.
    pub async fn is_unharmed(&self) {
        let answer = self.ask(embed(r#"["still here"]"#)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let vectors: Vec<Vec<f32>> = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(vectors.len(), 1);
        assert!(vectors[0].len() > 1);
    }

    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Connections that had to be cut.
    pub async fn stopped(self) -> usize {
        drop(self.stop);
        self.task.await.unwrap()
    }

    /// The value of a line of the metrics.
    pub fn metric(&self, line: &str) -> u64 {
        let text = self.service.metrics().text();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

impl Wire {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends until the server wants no more; gives how much it took.
    pub async fn send_while_taken(&mut self, part: &[u8], times: usize) -> usize {
        for sent in 0..times {
            if self.stream.write_all(part).await.is_err() {
                return sent;
            }
        }
        times
    }

    /// Says that nothing more will be sent.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer, or `None` if the connection was closed before it.
    pub async fn answer(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            self.more().await?;
        }
        let rest = self.read.split_off(length);
        let body = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
        Some(Answer { status, head, body })
    }

    /// Waits until the server closes the connection, and gives what it said before.
    pub async fn closed(&mut self) -> String {
        while self.more().await.is_some() {}
        String::from_utf8_lossy(&self.read).into_owned()
    }

    async fn more(&mut self) -> Option<()> {
        let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read_buf(&mut self.read)).await;
        (read.expect("the server says something or closes").unwrap_or(0) > 0).then_some(())
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A request that embeds the texts of a JSON list.
pub fn embed(texts: &str) -> String {
    embed_with("", texts)
}

/// The same with further header lines.
pub fn embed_with(headers: &str, texts: &str) -> String {
    post_with("/embed", headers, &format!("{{\"inputs\":{texts}}}"))
}

/// A request for a path, with these headers.
pub fn get_with(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{headers}\r\n")
}

/// A request with a JSON body and further header lines.
pub fn post_with(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}
