//! What strangers, broken clients and bad days send to a server. After each of them a good request must be answered as before.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::time::{Duration, Instant};

use docent_server::Limits;
use support::block_on;
use support::http::{Running, Wire, config, embed, get_with, limits, post_with};

/// A server with these limits.
async fn limited(limits: Limits) -> Running {
    Running::start(docent_server::Config { limits, ..config() }).await
}

#[test]
fn what_is_not_http_is_refused_or_cut() {
    block_on(async {
        let server = Running::start(config()).await;
        let garbage: [&[u8]; 9] = [
            b"\0\0\0\0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: local\0host\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, but long enough to be taken for one",
        ];
        for bytes in garbage {
            let mut wire = server.connect().await;
            wire.send(bytes).await;
            let said = wire.closed().await;
            assert!(!said.contains(" 200 "), "{}: {said}", bytes.escape_ascii());
        }
        server.is_unharmed().await;
    });
}

#[test]
fn what_is_not_json_is_refused_in_the_words_of_the_route() {
    block_on(async {
        let server = Running::start(config()).await;
        let bodies = [
            "",
            "{",
            "[]]",
            "null",
            "\0",
            "{\"model\": \"\0\"}",
            "{\"model\": NaN}",
            "{\"model\": \"\\ud800\"}",
            "{\"model\": 1e999}",
            "{\"input",
        ];
        for path in ["/embed", "/rerank", "/v1/embeddings", "/v1/rerank", "/api/embed", "/embedding", "/docent/embed"] {
            for body in bodies {
                let answer = server.ask(post_with(path, "", body)).await;
                assert!(matches!(answer.status, 400 | 422), "{path} {body}: {answer:?}");
                assert!(answer.body.starts_with('{'), "{path} {body}: {answer:?}");
            }
            // Nesting that would take the stack of a reader which follows it.
            let answer = server.ask(post_with(path, "", &"[".repeat(500_000))).await;
            assert!(matches!(answer.status, 400 | 422), "{path}: {answer:?}");
        }
        for texts in [r#"{"a": 1}"#, "[1.5]", "[true]", "7", "null", "[[[1]]]", "[-1]", "[18446744073709551616]"] {
            let answer = server.ask(embed(texts)).await;
            assert!(matches!(answer.status, 400 | 422), "{texts}: {answer:?}");
        }
        server.is_unharmed().await;
    });
}

#[test]
fn two_lengths_of_one_body_are_refused() {
    block_on(async {
        let server = Running::start(config()).await;
        for lengths in ["content-length: 5\r\ncontent-length: 6\r\n", "content-length: 5\r\ncontent-length: x\r\n"] {
            let request = format!("POST /embed HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n[\"a\"]");
            assert_eq!(server.ask(request).await.status, 400, "{lengths}");
        }
        server.is_unharmed().await;
    });
}

#[test]
fn a_body_that_announces_too_much_is_refused_before_it_comes() {
    block_on(async {
        let server = Running::start(config()).await;
        let head = "POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
        let answer = server.ask(head).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        // A client that sends all of it before it listens hears the same.
        let mut wire = server.connect().await;
        wire.send(head).await;
        assert_eq!(wire.send_while_taken(&vec![b' '; 1 << 20], 100).await, 100);
        assert_eq!(wire.answer().await.unwrap().status, 413);
        server.is_unharmed().await;
    });
}

#[test]
fn a_body_that_never_ends_is_refused_when_it_is_too_large() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send("POST /embed HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let part = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
        wire.send_while_taken(&part, 1600).await;
        assert_eq!(wire.answer().await.unwrap().status, 413);
        server.is_unharmed().await;
    });
}

#[test]
fn bodies_are_bounded_together() {
    block_on(async {
        let (body_bytes, bodies_bytes) = (1 << 20, 3 << 20);
        let server = limited(Limits { body_bytes, bodies_bytes, ..limits() }).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut wire = server.connect().await;
            wire.send("POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1048576\r\n\r\n").await;
            wire.send(vec![b' '; (1 << 20) - 1]).await;
            waiting.push(wire);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = server.ask(post_with("/slow", "", &" ".repeat(1 << 19))).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
        for wire in &mut waiting {
            wire.send(" ").await;
        }
        for wire in &mut waiting {
            assert_eq!(wire.answer().await.unwrap().status, 200);
        }
        server.is_unharmed().await;
        assert_eq!(server.ask(post_with("/slow", "", &" ".repeat(1 << 19))).await.status, 200);
    });
}

#[test]
fn a_slow_head_is_cut() {
    block_on(async {
        let server = Running::start(config()).await;
        for start in ["", "G", "PRI * HTT", "GET /health HTTP/1.1\r\nhost: loc"] {
            let limits = Limits { idle_timeout: Duration::from_millis(600), ..limits() };
            let server = if start.is_empty() { limited(limits).await } else { Running::start(config()).await };
            let mut wire = server.connect().await;
            wire.send(start).await;
            let begin = Instant::now();
            let said = wire.closed().await;
            assert!(!said.contains(" 200 "), "{said}");
            let took = begin.elapsed();
            assert!(took > Duration::from_millis(400) && took < Duration::from_secs(4), "{start:?}: {took:?}");
        }
        // Nor does it help to send one byte now and then.
        let mut wire = server.connect().await;
        let sent = async {
            for byte in "GET /health HTTP/1.1\r\nhost: localhost\r\n".bytes() {
                if wire.send_while_taken(&[byte], 1).await == 0 {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            false
        };
        assert!(sent.await, "the whole head was taken in some seconds");
        server.is_unharmed().await;
    });
}

#[test]
fn a_slow_body_is_answered_with_408() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send("POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n[\"half").await;
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 408, "{answer:?}");
        // A byte now and then is no body either.
        let mut wire = server.connect().await;
        wire.send("POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n").await;
        for _ in 0..20 {
            wire.send_while_taken(b" ", 1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(wire.answer().await.unwrap().status, 408);
        server.is_unharmed().await;
    });
}

#[test]
fn who_reads_nothing_of_an_answer_is_cut() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send(get_with("/large", "host: localhost\r\n")).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let said = wire.closed().await;
        assert!(said.len() < 32 << 20, "{} bytes came", said.len());
        server.is_unharmed().await;
        assert_eq!(server.stopped().await, 0);
    });
}

#[test]
fn the_work_of_a_client_that_is_gone_is_dropped() {
    block_on(async {
        let server = limited(Limits { step_tokens: 8, ..limits() }).await;
        let texts = serde_json::to_string(&vec!["some words that make a text"; 2000]).unwrap();
        let mut wire = server.connect().await;
        wire.send(embed(&texts)).await;
        while server.metric("te_batch_next_size_count") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(wire);
        let begin = Instant::now();
        while server.metric("te_request_failure{err=\"dropped\"}") == 0 {
            assert!(begin.elapsed() < Duration::from_secs(5), "nothing was dropped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.is_unharmed().await;
        let steps = server.metric("te_batch_next_size_count");
        assert!(steps < 1500, "{steps} of some 2000 steps were run");
        assert_eq!(server.metric("te_queue_size"), 0);
    });
}

#[test]
fn a_connection_that_is_closed_for_sending_is_taken_for_gone() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send(post_with("/slow", "", "[]")).await;
        wire.end().await;
        assert_eq!(wire.closed().await, "");
        // Before a request is whole it is an end like any other.
        let mut wire = server.connect().await;
        wire.send("POST /embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n[\"half").await;
        wire.end().await;
        assert!(!wire.closed().await.contains(" 200 "));
        server.is_unharmed().await;
    });
}

#[test]
fn idle_connections_disturb_nobody() {
    block_on(async {
        let server = limited(Limits { connections: 20_000, ..limits() }).await;
        // Each is two files of this process.
        let many = open_files().saturating_sub(400) / 2;
        let many = many.min(10_000);
        let mut idle = Vec::with_capacity(many);
        for _ in 0..many {
            idle.push(server.connect().await);
        }
        let begin = Instant::now();
        for _ in 0..20 {
            server.is_unharmed().await;
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "20 requests beside {many} idle connections took {took:?}");
        // They are as good as new.
        for wire in idle.iter_mut().step_by(many / 10 + 1) {
            wire.send(embed(r#"["late"]"#)).await;
            assert_eq!(wire.answer().await.unwrap().status, 200);
        }
        assert!(many > 100, "only {many} connections could be tried");
    });
}

/// The limit of open files, which starting a server has raised.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1024)
}

#[test]
fn who_has_been_idle_for_longest_makes_room() {
    block_on(async {
        let server = limited(Limits { connections: 4, ..limits() }).await;
        let mut first = server.connect().await;
        let mut others: Vec<Wire> = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            others.push(server.connect().await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.is_unharmed().await;
        assert_eq!(first.closed().await, "");
        for wire in &mut others {
            wire.send(embed(r#"["still open"]"#)).await;
            assert_eq!(wire.answer().await.unwrap().status, 200);
        }
    });
}

#[test]
fn more_connections_than_allowed_wait_while_all_are_busy() {
    block_on(async {
        let server = limited(Limits { connections: 2, ..limits() }).await;
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        first.send(post_with("/slow", "", "[]")).await;
        second.send(post_with("/slow", "", "[]")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begin = Instant::now();
        server.is_unharmed().await;
        assert!(begin.elapsed() > Duration::from_millis(300), "{:?}", begin.elapsed());
        assert_eq!(first.answer().await.unwrap().status, 200);
        assert_eq!(second.answer().await.unwrap().status, 200);
    });
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    block_on(async {
        let server = limited(Limits { idle_timeout: Duration::from_millis(700), ..limits() }).await;
        let mut wire = server.connect().await;
        wire.send(embed(r#"["once"]"#)).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
        let begin = Instant::now();
        assert_eq!(wire.closed().await, "");
        assert!(begin.elapsed() > Duration::from_millis(400) && begin.elapsed() < Duration::from_secs(4));
        server.is_unharmed().await;
    });
}

#[test]
fn too_many_requests_at_a_time_are_refused_at_once() {
    block_on(async {
        let server = limited(Limits { concurrent_requests: 2, ..limits() }).await;
        let (mut first, mut second) = (server.connect().await, server.connect().await);
        first.send(post_with("/slow", "", "[]")).await;
        second.send(post_with("/slow", "", "[]")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begin = Instant::now();
        let answer = server.ask(embed(r#"["third"]"#)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
        assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
        assert_eq!(server.metric("te_request_failure{err=\"overloaded\"}"), 1);
        // Those who watch are not turned away.
        assert_eq!(server.ask(get_with("/health", "host: localhost\r\n")).await.status, 200);
        assert_eq!(first.answer().await.unwrap().status, 200);
        assert_eq!(second.answer().await.unwrap().status, 200);
        server.is_unharmed().await;
    });
}

#[test]
fn a_panic_costs_one_request() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send(get_with("/panic", "host: localhost\r\n")).await;
        assert!(matches!(wire.answer().await.unwrap().status, 424 | 500));
        wire.send(embed(r#"["the same connection"]"#)).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
        server.is_unharmed().await;
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        let requests = [
            post_with("/slow", "", "[]"),
            embed(r#"["b", "c"]"#),
            get_with("/none", "host: localhost\r\n"),
            embed(r#"["d"]"#),
        ];
        wire.send(requests.concat()).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(wire.answer().await.unwrap().status);
        }
        assert_eq!(statuses, [200, 200, 404, 200]);
    });
}

#[test]
fn http_1_0_is_answered_and_closed() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send("GET /health HTTP/1.0\r\n\r\n").await;
        assert!(wire.closed().await.starts_with("HTTP/1.0 200 "));
    });
}

#[test]
fn a_huge_head_is_refused() {
    block_on(async {
        let server = Running::start(config()).await;
        let mut wire = server.connect().await;
        wire.send("GET /health HTTP/1.1\r\nhost: localhost\r\nx-much: ").await;
        wire.send_while_taken(&[b'x'; 1 << 12], 64).await;
        assert!(!wire.closed().await.contains(" 200 "));
        let many = "x-many: 1\r\n".repeat(300);
        let answer = server.ask(get_with("/health", &format!("host: localhost\r\n{many}"))).await;
        assert_eq!(answer.status, 431);
        server.is_unharmed().await;
    });
}

#[test]
fn an_unknown_method_or_route_is_refused() {
    block_on(async {
        let server = Running::start(config()).await;
        let ask = async |line: &str| server.ask(format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await.status;
        assert_eq!(ask("BREW /embed").await, 405);
        assert_eq!(ask("GET /embed").await, 405);
        assert_eq!(ask("GET /nowhere").await, 404);
        assert_eq!(ask("OPTIONS *").await, 404);
        server.is_unharmed().await;
    });
}

#[test]
fn a_request_keeps_its_id() {
    block_on(async {
        let server = Running::start(config()).await;
        let id = async |headers: &str| {
            let answer = server.ask(get_with("/nowhere", &format!("host: localhost\r\n{headers}"))).await;
            answer.header("x-request-id").unwrap().to_owned()
        };
        assert_eq!(id("x-request-id: abc-123\r\n").await, "abc-123");
        assert_ne!(id("x-request-id: a b\r\n").await, "a b");
        assert_ne!(id("").await, id("").await);
    });
}

#[test]
fn what_is_under_way_is_finished_before_the_server_stops() {
    block_on(async {
        let mut server = Running::start(config()).await;
        let (mut busy, mut idle, mut half) = (server.connect().await, server.connect().await, server.connect().await);
        busy.send(post_with("/slow", "", "[]")).await;
        half.send("GET /hea").await;
        let mut watching = server.connect().await;
        watching.send(post_with("/slow", "", "[]") + &get_with("/health", "host: localhost\r\n")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.tell_to_stop();
        assert_eq!(idle.closed().await, "");
        assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "connections are still taken");
        let answer = busy.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(busy.closed().await, "");
        assert_eq!(watching.answer().await.unwrap().status, 200);
        drop(half);
        let begin = Instant::now();
        assert_eq!(server.stopped().await, 0);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    });
}

#[test]
fn what_takes_too_long_is_cut_when_the_server_stops() {
    block_on(async {
        let mut server = limited(Limits { drain: Duration::from_millis(200), ..limits() }).await;
        let mut busy = server.connect().await;
        busy.send(post_with("/slow", "", "[]")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.tell_to_stop();
        assert_eq!(busy.closed().await, "");
        assert_eq!(server.stopped().await, 1);
    });
}

#[test]
fn answers_are_bounded_together() {
    block_on(async {
        let server = limited(Limits { answers_bytes: 1 << 20, read_timeout: Duration::from_secs(5), ..limits() }).await;
        let large = get_with("/large", "host: localhost\r\n");
        let mut reader = server.connect().await;
        // One alone is answered, however large it is.
        reader.send(&large).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = server.ask(&large).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
        // Small ones are not counted.
        server.is_unharmed().await;
        drop(reader);
        let begin = Instant::now();
        while server.ask(&large).await.status != 200 {
            assert!(begin.elapsed() < Duration::from_secs(5), "the room is not given back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// An HTTP/2 connection whose streams take so many bytes at a time.
async fn http_2(
    server: &Running,
    window: u32,
) -> (h2::client::SendRequest<axum::body::Bytes>, h2::PingPong, tokio::task::JoinHandle<bool>) {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (client, mut connection) =
        h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
    let pings = connection.ping_pong().unwrap();
    (client, pings, tokio::spawn(async move { connection.await.is_ok() }))
}

fn to(path: &str) -> axum::http::Request<()> {
    axum::http::Request::get(format!("http://localhost{path}")).body(()).unwrap()
}

#[test]
fn who_takes_little_of_an_answer_now_and_then_is_cut() {
    block_on(async {
        let server = Running::start(config()).await;
        let (mut client, _, connection) = http_2(&server, 200).await;
        let mut body = client.send_request(to("/large"), true).unwrap().0.await.unwrap().into_body();
        let (begin, mut taken) = (Instant::now(), 0);
        // A thousand bytes a second, and never nothing for long.
        while let Some(Ok(data)) = body.data().await {
            taken += data.len();
            assert!(begin.elapsed() < Duration::from_secs(8), "{taken} bytes were taken, and it goes on");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = body.flow_control().release_capacity(data.len());
        }
        assert!(taken > 200 && begin.elapsed() > Duration::from_millis(500), "{taken} bytes in {:?}", begin.elapsed());
        drop(client);
        connection.await.unwrap();
        server.is_unharmed().await;
    });
}

#[test]
fn who_only_pings_is_idle() {
    block_on(async {
        let idle_timeout = Duration::from_millis(1500);
        let server = limited(Limits { idle_timeout, ..limits() }).await;
        let (mut client, mut pings, connection) = http_2(&server, 1 << 16).await;
        let answer = client.send_request(to("/health"), true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(answer);
        let begin = Instant::now();
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(6), "pings keep the connection open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Neither longer than without pings nor, as if they were half of a head, shorter.
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(1200), "{took:?}");
        drop(client);
        connection.await.unwrap();
        server.is_unharmed().await;
    });
}
