//! What `docent serve` tells a collector of OpenTelemetry.

#![cfg(all(unix, feature = "otel"))]
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{TINY, docent_process};

/// A server, until it is told to stop.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = docent_process();
        command.args(["serve", "--port", "0", "-m", &format!("tiny={TINY}")]).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Server { child, address: url.trim().strip_prefix("http://").unwrap().to_owned() }
    }

    /// The status of an answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, length) = (&self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {length}"
        );
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Tells it to stop, and gives its log.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

/// What a collector was sent: the resource's attributes, and a span.
#[derive(Clone, Debug)]
struct Span {
    resource: BTreeMap<String, String>,
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
    /// 2 for an error.
    status: u64,
}

/// A field of a protobuf message: its number and its value.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in protobuf's wire format.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            5 => {
                let (number, rest) = bytes.split_at(4);
                bytes = rest;
                Field::Number(u64::from(u32::from_le_bytes(number.try_into().unwrap())))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The messages in the field of this number.
fn messages(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of_number = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of_number).collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    messages(bytes, number).first().map_or_else(String::new, |text| String::from_utf8(text.to_vec()).unwrap())
}

fn hex(bytes: &[u8], number: u64) -> String {
    messages(bytes, number).first().map_or_else(String::new, |id| id.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn number(bytes: &[u8], number: u64) -> u64 {
    let of_number = |(found, field)| match field {
        Field::Number(value) if found == number => Some(value),
        _ => None,
    };
    fields(bytes).into_iter().find_map(of_number).unwrap_or(0)
}

/// The `KeyValue`s in the field of this number; of lists the first value.
fn attributes(bytes: &[u8], of: u64) -> BTreeMap<String, String> {
    fn value(any: &[u8]) -> String {
        match fields(any).into_iter().next() {
            Some((1, Field::Bytes(text))) => String::from_utf8(text.to_vec()).unwrap(),
            Some((5, Field::Bytes(list))) => value(messages(list, 1)[0]),
            Some((_, Field::Number(number))) => number.to_string(),
            _ => String::new(),
        }
    }
    messages(bytes, of).into_iter().map(|pair| (text(pair, 1), value(messages(pair, 2)[0]))).collect()
}

/// The spans of an `ExportTraceServiceRequest`, by the field numbers of opentelemetry-proto 1.
fn spans(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in messages(body, 1) {
        let resource = attributes(messages(of_resource, 1)[0], 1);
        for span in messages(of_resource, 2).into_iter().flat_map(|of_scope| messages(of_scope, 2)) {
            spans.push(Span {
                resource: resource.clone(),
                trace: hex(span, 1),
                id: hex(span, 2),
                parent: hex(span, 4),
                name: text(span, 5),
                kind: number(span, 6),
                start: number(span, 7),
                end: number(span, 8),
                attributes: attributes(span, 9),
                status: messages(span, 15).first().map_or(0, |status| number(status, 3)),
            });
        }
    }
    spans
}

/// A collector on a port of its own: its address, and what it is sent.
fn collector() -> (String, mpsc::Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            // Several batches may come by one connection.
            while let Some((head, body)) = request(&mut stream) {
                assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
                assert!(head.to_ascii_lowercase().contains("content-type: application/x-protobuf"), "{head}");
                // Before the answer: with it the server may end, and the test look at what has come.
                if sender.send(spans(&body)).is_err() {
                    return;
                }
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (address, receiver)
}

/// The head and the body of the next request of a connection.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Some((head, body))
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[test]
fn a_request_its_call_and_its_stages_continue_the_trace_of_the_client() {
    let (collector, received) = collector();
    let server = Server::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector), ("OTEL_SERVICE_NAME", "notes")]);
    let headers = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nx-request-id: my-id\r\nuser-agent: test/1\r\n");
    assert_eq!(server.ask("GET", "/health", "", ""), 200);
    let body = r#"{"input": ["a secret text", "another"], "model": "TINY:latest", "dimensions": 32}"#;
    assert_eq!(server.ask("POST", "/v1/embeddings?key=hidden", &headers, body), 200);
    assert_eq!(server.ask("POST", "/rerank", "", r#"{"query": "q", "documents": ["d"], "model": "tiny"}"#), 501);
    assert_eq!(server.ask("POST", "/embed", "", r#"{"inputs": "a", "model": "nobody"}"#), 404);
    assert_eq!(server.ask("BREW", "/nowhere", "", ""), 404);
    // What is not sent yet is sent at the end.
    let log = server.stop();
    assert!(log.contains(&format!("traces go to {collector}")), "{log}");
    let spans: Vec<Span> = received.try_iter().flatten().collect();
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"));

    let request = named("POST /v1/embeddings");
    assert_eq!((request.trace.as_str(), request.parent.as_str(), request.kind), (TRACE, PARENT, 2));
    assert_eq!(request.resource["service.name"], "notes");
    let expected = [
        ("http.request.method", "POST"),
        ("http.route", "/v1/embeddings"),
        ("url.path", "/v1/embeddings"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("server.address", "127.0.0.1"),
        ("user_agent.original", "test/1"),
        ("http.response.status_code", "200"),
        ("http.response.header.x-request-id", "my-id"),
    ];
    for (name, value) in expected {
        assert_eq!(request.attributes.get(name).map(String::as_str), Some(value), "{name}: {request:#?}");
    }
    let call = named("embeddings tiny");
    assert_eq!((&call.trace, &call.parent, call.kind), (&request.trace, &request.id, 1));
    let expected = [
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.provider.name", "docent"),
        ("gen_ai.request.model", "TINY:latest"),
        ("gen_ai.response.model", "tiny"),
        ("gen_ai.embeddings.dimension.count", "32"),
        ("docent.items", "2"),
        ("docent.truncated", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(call.attributes.get(name).map(String::as_str), Some(value), "{name}: {call:#?}");
    }
    assert!(call.attributes["gen_ai.usage.input_tokens"].parse::<usize>().unwrap() > 4);
    let stages = ["tokenize", "queue", "inference"].map(named);
    for stage in stages {
        assert_eq!((&stage.trace, &stage.parent), (&call.trace, &call.id), "{stage:#?}");
        assert!(call.start <= stage.start && stage.start <= stage.end && stage.end <= call.end, "{stage:#?}");
    }
    assert!(stages[0].end <= stages[1].start && stages[1].end <= stages[2].start);

    // What is refused is an error of the call, and of the request only if the server is to blame.
    let refused = named("POST /rerank");
    assert_eq!((refused.status, refused.attributes["http.response.status_code"].as_str()), (2, "501"));
    assert_ne!(refused.trace, TRACE);
    let unserved = named("POST /embed");
    assert_eq!((unserved.status, unserved.attributes["http.response.status_code"].as_str()), (0, "404"));
    let call = named("embeddings");
    assert_eq!((&call.parent, call.status), (&unserved.id, 2));
    assert_eq!(call.attributes["error.type"], "validation");
    assert_eq!(call.attributes["gen_ai.request.model"], "nobody");
    let unknown = named("_OTHER");
    assert_eq!((unknown.status, unknown.attributes["http.response.status_code"].as_str()), (0, "404"));
    assert_eq!(spans.len(), 9, "probes have no span: {spans:#?}");
    for secret in ["secret", "hidden"] {
        assert!(!format!("{spans:?}").contains(secret), "{spans:#?}");
    }
}

#[test]
fn a_trace_that_is_not_recorded_is_left_alone() {
    let (collector, received) = collector();
    let server = Server::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector)]);
    let not_sampled = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    assert_eq!(server.ask("POST", "/embed", &not_sampled, r#"{"inputs": "a"}"#), 200);
    assert_eq!(server.ask("POST", "/embed", "traceparent: nonsense\r\n", r#"{"inputs": "a"}"#), 200);
    server.stop();
    let spans: Vec<Span> = received.try_iter().flatten().collect();
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace != TRACE && span.resource["service.name"] == "docent"), "{spans:#?}");
}

#[test]
fn without_a_collector_nothing_is_contacted() {
    let (collector, received) = collector();
    for variables in [
        &[("OTEL_SERVICE_NAME", "notes")][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector), ("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector), ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        let server = Server::start(variables);
        assert_eq!(server.ask("POST", "/embed", "", r#"{"inputs": "a"}"#), 200);
        assert!(!server.stop().contains("traces"));
    }
    assert!(received.try_iter().next().is_none());
}

#[test]
fn a_collector_that_cannot_be_reached_costs_a_line_in_the_log() {
    // A port on which nobody listens.
    let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", closed.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let server = Server::start(&variables);
    for _ in 0..10 {
        assert_eq!(server.ask("POST", "/embed", "", r#"{"inputs": "a"}"#), 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    let log = server.stop();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
}

#[test]
fn what_cannot_be_spoken_is_told_and_no_reason_not_to_serve() {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let server = Server::start(&variables);
    assert_eq!(server.ask("POST", "/embed", "", r#"{"inputs": "a"}"#), 200);
    let log = server.stop();
    assert!(log.contains("OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`"), "{log}");
}
