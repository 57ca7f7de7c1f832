//! Whom a server answers: those with a key, by a name of its own, from no page of another origin.

mod support;

use docent_server::Access;
use support::block_on;
use support::http::{Running, config, embed_with, get_with};

/// A server with these rules.
async fn guarded(access: Access) -> Running {
    Running::start(docent_server::Config { access, ..config() }).await
}

#[test]
fn keys_are_asked_for() {
    block_on(async {
        let keys = vec!["first-key".to_owned(), "second-key".to_owned()];
        let server = guarded(Access { keys, ..Access::default() }).await;
        let with = |header: &str| embed_with(header, r#"["text"]"#);
        for header in
            ["", "authorization: Bearer wrong\r\n", "x-api-key: first-ke\r\n", "authorization: Basic first-key\r\n"]
        {
            let answer = server.ask(with(header)).await;
            assert_eq!(answer.status, 401, "{header}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"docent\""));
        }
        for header in ["authorization: bearer first-key\r\n", "x-api-key: second-key\r\n"] {
            assert_eq!(server.ask(with(header)).await.status, 200, "{header}");
        }
        assert_eq!(server.ask(get_with("/health", "host: localhost\r\n")).await.status, 200);
        assert_eq!(server.ask(get_with("/metrics", "host: localhost\r\n")).await.status, 200);
        assert_eq!(server.metric("te_request_failure{err=\"validation\"}"), 4);
    });
}

#[test]
fn probes_can_be_guarded_too() {
    block_on(async {
        let access = Access { keys: vec!["key".to_owned()], guard_probes: true, ..Access::default() };
        let server = guarded(access).await;
        assert_eq!(server.ask(get_with("/health", "host: localhost\r\n")).await.status, 401);
        assert_eq!(server.ask(get_with("/metrics", "host: localhost\r\nx-api-key: key\r\n")).await.status, 200);
    });
}

#[test]
fn a_name_that_is_not_the_servers_is_refused() {
    block_on(async {
        let server = guarded(Access { hosts: vec!["notes.example".to_owned()], ..Access::default() }).await;
        let status = async |headers: &str| server.ask(get_with("/health", headers)).await.status;
        for allowed in
            ["host: localhost:8080\r\n", "host: 127.0.0.1\r\n", "host: [::1]:1\r\n", "Host: Notes.example\r\n"]
        {
            assert_eq!(status(allowed).await, 200, "{allowed}");
        }
        assert_eq!(status("host: evil.example\r\n").await, 403);
        assert_eq!(status("host: localhost.evil.example\r\n").await, 403);
        assert_eq!(status("").await, 400);
        assert_eq!(status("host:\r\n").await, 400);
        assert_eq!(status("host: localhost\r\nhost: evil.example\r\n").await, 400);
        assert_eq!(server.ask("GET http://evil.example/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.status, 403);
        server.is_unharmed().await;
    });
}

#[test]
fn a_page_of_another_origin_is_refused() {
    block_on(async {
        let server = Running::start(config()).await;
        let from = |origin: &str| embed_with(&format!("origin: {origin}\r\n"), r#"["text"]"#);
        for origin in ["https://evil.example", "null", "http://localhost:3000"] {
            let answer = server.ask(from(origin)).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{origin}");
        }
        // The server's own page, as the documentation is.
        assert_eq!(server.ask(from("http://localhost")).await.status, 200);
    });
}

#[test]
fn a_listed_origin_may_call() {
    block_on(async {
        let origins = vec!["https://notes.example".to_owned()];
        let server = guarded(Access { origins, keys: vec!["key".to_owned()], ..Access::default() }).await;
        let headers = "origin: https://notes.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: authorization, content-type\r\n";
        let answer = server.ask(format!("OPTIONS /embed HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://notes.example"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, content-type"));
        let evil = headers.replace("notes", "evil");
        let answer = server.ask(format!("OPTIONS /embed HTTP/1.1\r\nhost: localhost\r\n{evil}\r\n")).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
        let request = embed_with("origin: https://notes.example\r\nauthorization: Bearer key\r\n", r#"["text"]"#);
        let answer = server.ask(request).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://notes.example")));
        // A page sees why it was refused.
        let answer = server.ask(embed_with("origin: https://notes.example\r\n", r#"["text"]"#)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://notes.example")));
    });
}
