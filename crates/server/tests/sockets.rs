//! Where a server listens, and what it speaks there.

mod support;

use std::time::Duration;

use axum::http::Request;
use docent_server::{Access, Config, FailureKind, Limits, Server, ServerError, Service};
use support::block_on;
use support::http::{Running, config, embed, limits, router};
use tokio::net::TcpStream;

#[test]
fn a_port_in_use_is_named() {
    block_on(async {
        let server = Running::start(config()).await;
        let taken = Config { listen: docent_server::Listen::Tcp(server.address), ..config() };
        let service = Service::new(&taken);
        let error = Server::bind(&taken, service.clone(), router(service)).err().unwrap();
        assert!(matches!(error, ServerError::Address { .. }));
        assert!(error.to_string().contains(&server.address.to_string()), "{error}");
        server.is_unharmed().await;
    });
}

#[test]
fn what_cannot_be_a_key_origin_or_host_is_refused_at_the_start() {
    block_on(async {
        let bad = || vec!["not one".to_owned()];
        let rules = [
            Access { keys: bad(), ..Access::default() },
            Access { origins: bad(), ..Access::default() },
            Access { hosts: bad(), ..Access::default() },
        ];
        for access in rules {
            let config = Config { access, ..config() };
            let service = Service::new(&config);
            let error = Server::bind(&config, service.clone(), router(service)).err().unwrap();
            assert!(matches!(error, ServerError::Access(_)), "{error}");
        }
    });
}

#[test]
fn while_models_load_requests_are_told_so() {
    block_on(async {
        let mut config = config();
        // The second is never there.
        config.models.models[1].model = docent::ModelRef::Path("no-such-model".into());
        let service = Service::new(&config);
        let server = Running::start_with(config, service.clone());
        let health = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let answer = server.ask(health).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(service.load().await.unwrap_err().kind, FailureKind::Backend);
        // What is there is served; what is not yet is refused at once.
        server.is_unharmed().await;
        let failure = service.models().reranker(Some("judge")).await.err().unwrap();
        assert_eq!(failure.kind, FailureKind::Unready, "{failure}");
        assert_eq!(server.ask(health).await.status, 503);
    });
}

#[test]
fn http_2_is_spoken_on_the_same_port() {
    block_on(async {
        let server = Running::start(Config { limits: Limits { concurrent_requests: 3, ..limits() }, ..config() }).await;
        let (client, connection) =
            h2::client::handshake(TcpStream::connect(server.address).await.unwrap()).await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = async |method: &str, uri: &str, body: String| {
            let mut client = client.clone().ready().await.unwrap();
            let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
            let (response, mut stream) = client.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
            if !body.is_empty() {
                stream.send_data(body.into(), true).unwrap();
            }
            let response = response.await.unwrap();
            let status = response.status().as_u16();
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data.unwrap().len()).unwrap();
            }
            status
        };
        let texts = || r#"{"inputs": ["text"]}"#.to_owned();
        assert_eq!(ask("POST", "http://localhost/embed", texts()).await, 200);
        assert_eq!(ask("GET", "http://evil.example/health", String::new()).await, 403);
        let slow = || ask("POST", "http://localhost/slow", texts());
        let statuses = tokio::join!(slow(), slow(), slow(), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ask("POST", "http://localhost/embed", texts()).await
        });
        assert_eq!(statuses, (200, 200, 200, 429));
        // A large answer comes whole through small windows.
        assert_eq!(ask("GET", "http://localhost/large", String::new()).await, 200);
        assert_eq!(server.stopped().await, 0);
        drop(client);
        assert!(connection.await.unwrap().is_ok(), "the server says goodbye");
    });
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use docent_server::Listen;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    fn at(path: &std::path::Path) -> Config {
        Config { listen: Listen::Unix(path.to_owned()), ..config() }
    }

    #[test]
    fn a_unix_socket_is_for_its_user_and_goes_with_the_server() {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("docent.sock");
            let server = Running::start(at(&path)).await;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // No page reaches a Unix socket: it may be called by any name.
            let request = embed(r#"["text"]"#)
                .replace("localhost", "docent")
                .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(server.stopped().await, 0);
            assert!(!path.exists());
        });
    }

    #[test]
    fn only_a_socket_that_nobody_answers_on_is_replaced() {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("docent.sock");
            let bind = |path: &std::path::Path| {
                let service = Service::new(&at(path));
                Server::bind(&at(path), service.clone(), router(service))
            };
            // Left behind by a server that was killed.
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            let first = bind(&path).unwrap();
            assert!(matches!(bind(&path), Err(ServerError::InUse { .. })));
            // Another server has taken the place; its socket is not the first one's to remove.
            std::fs::remove_file(&path).unwrap();
            let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
            drop(first);
            assert!(path.exists());
            drop(other);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "notes").unwrap();
            assert!(matches!(bind(&path), Err(ServerError::NotASocket { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
            let missing = folder.path().join("none/docent.sock");
            assert!(matches!(bind(&missing), Err(ServerError::Socket { .. })));
        });
    }
}
