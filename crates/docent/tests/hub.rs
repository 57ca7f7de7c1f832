//! Downloads from a hub that does not always behave, played by a server on this machine. Nothing here touches the network.

#![allow(clippy::unwrap_used)] // clippy sees tests in functions marked as such, not in their helpers

mod hub_server;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use docent::ModelRef;
use docent::hub::{Error, Progress, Quant, Silent};
use hub_server::place::{FILE, Place, assert_content, content, fetch, hub_at, message, model, repos};
use hub_server::{COMMIT, Reply, Repos, Request, Server, file_reply, sha256};

/// Writes down what it is told.
#[derive(Default)]
struct Recorder {
    starts: Mutex<Vec<(String, Option<u64>, u64)>>,
    bytes: AtomicUsize,
    finished: AtomicUsize,
}

impl Progress for Recorder {
    fn start(&self, file: &str, total: Option<u64>, resumed_from: u64) {
        self.starts.lock().unwrap().push((file.to_owned(), total, resumed_from));
    }
    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
    }
    fn finish(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
    fn note(&self, _text: &str) {}
}

#[test]
fn a_file_arrives_in_the_layout_of_the_hub_and_is_never_asked_for_again() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    let hub = place.hub(&server.url);
    assert_eq!(hub.cached(&model(), None), None);
    let recorder = Recorder::default();
    let path = hub.fetch(&model(), None, &recorder).unwrap();
    assert_content(&path);
    assert_eq!(path, place.repo().join("snapshots").join(COMMIT).join(FILE));
    assert_eq!(std::fs::read_to_string(place.repo().join("refs/main")).unwrap(), COMMIT);
    assert_content(&place.blob());
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../blobs").join(sha256(&content())));
    assert_eq!(*recorder.starts.lock().unwrap(), [("u/r/m-Q8_0.gguf".to_owned(), Some(content().len() as u64), 0)]);
    assert_eq!((recorder.bytes.into_inner(), recorder.finished.into_inner()), (content().len(), 1));

    let before = server.connections();
    assert_eq!(fetch(&hub).unwrap(), path);
    assert_eq!(fetch(&hub.clone().offline(true)).unwrap(), path);
    assert_eq!(hub.cached(&model(), None), Some(path.clone()));
    assert_eq!(hub.cached(&"hf:u/r".parse().unwrap(), None), Some(path.clone()));
    assert_eq!(hub.cached(&"hf:u/r".parse().unwrap(), Some(Quant::F16)), None);
    assert_eq!(hub.fetch(&format!("hf:u/r@{COMMIT}").parse().unwrap(), None, &Silent).unwrap(), path);
    assert_eq!(server.connections(), before);
}

#[test]
fn offline_makes_no_connection_and_says_what_is_missing_and_where() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    let hub = place.hub(&server.url).offline(true);
    let folder: ModelRef = "hf:u/r".parse().unwrap();
    let url: ModelRef = format!("{}/x.gguf", server.url).parse().unwrap();
    for model in [&model(), &folder, &url, &"all-MiniLM-L6-v2".parse().unwrap()] {
        let text = message(&hub.fetch(model, None, &Silent).unwrap_err());
        assert!(text.contains("offline") && text.contains(place.dir.path().to_str().unwrap()), "{text}");
        assert_eq!(hub.cached(model, None), None);
    }
    assert!(message(&fetch(&hub).unwrap_err()).contains(&format!("u/r/{FILE}")));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    place.put_incomplete(&content()[..1000]);
    let recorder = Recorder::default();
    let path = place.hub(&server.url).fetch(&model(), None, &recorder).unwrap();
    assert_content(&path);
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [Some(1000)]);
    assert_eq!(recorder.starts.lock().unwrap()[0].2, 1000);
    assert!(!place.incomplete().exists());
}

#[test]
fn a_complete_but_unnamed_download_needs_no_transfer() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    place.put_incomplete(&content());
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
    assert_eq!(server.gets().len(), 0);
}

#[test]
fn a_server_that_ignores_the_range_starts_over() {
    let place = Place::new();
    let server = Server::start(|request| {
        let mut request = request.clone();
        request.headers.remove("range");
        repos().answer(&request)
    });
    place.put_incomplete(b"GGUF and something else");
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
}

#[test]
fn a_part_that_was_not_asked_for_is_not_used() {
    for wrong in ["bytes 0-99/400004", "bytes 1001-400003/400004", "bytes 1000-400003/500000", "nonsense"] {
        let place = Place::new();
        let server = Server::start(move |request| match request.range() {
            Some(from) => {
                let reply = Reply { status: 206, body: content()[from..].to_vec(), ..Reply::default() };
                reply.header("content-range", wrong).header("x-repo-commit", COMMIT)
            }
            None => repos().answer(request),
        });
        place.put_incomplete(&content()[..1000]);
        assert_content(&fetch(&place.hub(&server.url)).unwrap());
        assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [Some(1000), None], "{wrong}");
    }
}

#[test]
fn bytes_of_another_file_are_noticed_and_fetched_anew() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    place.put_incomplete(&vec![7; 1000]);
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [Some(1000), None]);
    // More bytes than the file has.
    let place = Place::new();
    place.put_incomplete(&vec![7; content().len() + 1]);
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
}

#[test]
fn a_connection_that_closes_early_is_taken_up_again() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        // Each connection carries 150 000 bytes at most.
        if request.method == "GET" { reply.cut(150_000) } else { reply }
    });
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [None, Some(150_000), Some(300_000)]);
}

#[test]
fn a_body_that_stays_short_is_an_error_and_keeps_what_came() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        let left = 5000usize.saturating_sub(request.range().unwrap_or(0));
        if request.method == "GET" { reply.cut(left) } else { reply }
    });
    let error = fetch(&place.hub(&server.url)).unwrap_err();
    assert!(matches!(error, Error::ShortBody { expected: 400_004, found: 5000, .. }), "{error:?}");
    assert_eq!(server.gets().len(), 3, "one try and two retries");
    assert_eq!(std::fs::metadata(place.incomplete()).unwrap().len(), 5000);
    assert_eq!(place.hub(&server.url).cached(&model(), None), None);
}

#[test]
fn a_wrong_hash_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    let server = Server::start(|request| {
        let mut reply = repos().answer(request);
        if request.method == "GET" {
            reply.body[2000] ^= 1;
        }
        reply
    });
    let hub = place.hub(&server.url);
    let error = fetch(&hub).unwrap_err();
    assert!(matches!(&error, Error::WrongHash { expected, .. } if *expected == sha256(&content())), "{error:?}");
    assert!(message(&error).contains("u/r/m-Q8_0.gguf"));
    assert!(!place.blob().exists() && !place.incomplete().exists());
    assert_eq!(hub.cached(&model(), None), None);
    assert_eq!(server.gets().len(), 1, "a wrong hash does not get better");
}

#[test]
fn refusals_say_what_to_do() {
    let place = Place::new();
    let server = Server::hub(repos());
    let error = place.hub(&server.url).fetch(&"hf:u/r/none.gguf".parse().unwrap(), None, &Silent).unwrap_err();
    assert!(matches!(error, Error::NotFound { status: 404, .. }), "{error:?}");
    assert!(message(&error).contains("u/r/none.gguf"));
    let error = place.hub(&server.url).fetch(&"hf:no/repo".parse().unwrap(), None, &Silent).unwrap_err();
    assert!(message(&error).starts_with("no/repo is not to be found"), "{error}");

    for status in [401, 403] {
        let server = Server::start(move |_| Reply::status(status));
        let text = message(&fetch(&place.hub(&server.url)).unwrap_err());
        assert!(text.contains("HF_TOKEN") && text.contains("licence") && text.contains(&status.to_string()), "{text}");
        let text = message(&fetch(&place.hub(&server.url).token(Some("hf_x".into()))).unwrap_err());
        assert!(text.contains("token in use") && !text.contains("hf_x"), "{text}");
        assert_eq!(server.connections(), 2, "a refusal is not asked about again");
    }
}

#[test]
fn a_busy_server_is_asked_again_and_not_for_ever() {
    for status in [429, 503] {
        let (place, count) = (Place::new(), AtomicUsize::new(0));
        let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => Reply::status(status).header("retry-after", 0),
            _ => repos().answer(request),
        });
        assert_content(&fetch(&place.hub(&server.url)).unwrap());
        assert_eq!(server.connections(), 4, "HEAD twice, GET twice");
    }
    let (place, server) = (Place::new(), Server::start(|_| Reply::status(500)));
    let error = fetch(&place.hub(&server.url)).unwrap_err();
    assert!(matches!(error, Error::Busy { status: 500, .. }), "{error:?}");
    assert_eq!(server.connections(), 3);
}

#[test]
fn retry_after_is_waited_for() {
    let (place, count) = (Place::new(), AtomicUsize::new(0));
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(429).header("retry-after", 1),
        _ => repos().answer(request),
    });
    let start = Instant::now();
    fetch(&place.hub(&server.url)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn the_token_is_shown_to_the_hub_and_not_to_the_store_behind_it() {
    let place = Place::new();
    let store = Server::start(|request| file_reply(FILE, &content(), request));
    let location = format!("{}/signed?key=1", store.url);
    let hub = Server::start(move |request| {
        let described = repos().answer(request);
        let mut reply =
            Reply { status: 302, headers: described.headers, ..Reply::default() }.header("location", &location);
        reply.body = b"moved".to_vec();
        reply
    });
    let path = fetch(&place.hub(&hub.url).token(Some("hf_secret".into()))).unwrap();
    assert_content(&path);
    assert!(hub.requests().iter().all(|r| r.headers.get("authorization").is_some_and(|v| v == "Bearer hf_secret")));
    assert_eq!(store.requests().len(), 1, "only the content comes from the store");
    assert!(store.requests().iter().all(|r| !r.headers.contains_key("authorization")));
    assert!(hub.requests().iter().all(|r| r.headers["accept-encoding"] == "identity"));
}

#[test]
fn a_moved_repository_is_followed() {
    let place = Place::new();
    let server = Server::start(|request| match request.path.strip_prefix("/u/r/") {
        Some(rest) => Reply::status(307).header("location", format!("/new/name/{rest}")),
        None => Repos::default().with("new/name", FILE, content()).answer(request),
    });
    let path = fetch(&place.hub(&server.url)).unwrap();
    assert_content(&path);
    assert!(path.starts_with(place.repo()), "under the name it was asked for");
}

#[test]
fn redirects_without_end_or_sense_are_errors() {
    let place = Place::new();
    let server = Server::start(|request| Reply::status(302).header("location", format!("{}x", request.path)));
    let error = fetch(&place.hub(&server.url)).unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { limit: 10, .. }), "{error:?}");
    assert_eq!(server.connections(), 11);
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", ""] {
        let server = Server::start(move |_| Reply::status(302).header("location", location));
        let error = fetch(&place.hub(&server.url)).unwrap_err();
        assert!(matches!(error, Error::BadRedirect { .. }), "{location:?}: {error:?}");
    }
}

#[test]
fn a_silent_server_does_not_hold_anybody_up() {
    let place = Place::new();
    let server = Server::start(|_| Reply::default().hang(Duration::from_secs(20)));
    let start = Instant::now();
    let error = fetch(&place.hub(&server.url).retries(1, Duration::from_millis(1))).unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_falls_silent_in_the_middle_is_left_and_asked_for_the_rest() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        if request.method == "GET" && request.range().is_none() {
            reply.cut(5000).hang(Duration::from_secs(20))
        } else {
            reply
        }
    });
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [None, Some(5000)]);
}

#[test]
fn the_first_hub_that_has_it_wins() {
    let good = Server::hub(repos());
    let missing = Server::hub(Repos::default());
    let broken = Server::start(|_| Reply::status(502));
    for first in [Server::nowhere(), missing.url.clone(), broken.url.clone()] {
        let place = Place::new();
        let hub = place.hub("x").endpoints([first, good.url.clone()]).token(Some("hf_secret".into()));
        assert_content(&fetch(&hub).unwrap());
    }
    assert!(good.requests().iter().all(|r| !r.headers.contains_key("authorization")), "a mirror gets no token");
    assert!(missing.requests().iter().all(|r| r.headers.contains_key("authorization")));

    let place = Place::new();
    let (one, two) = (Server::nowhere(), missing.url.clone());
    let text = message(&fetch(&place.hub("x").endpoints([one.clone(), two.clone()])).unwrap_err());
    assert!(text.contains(&one) && text.contains(&two) && text.contains("404"), "{text}");
}

#[test]
fn the_hub_that_answered_is_asked_first_the_next_time() {
    let good = Server::hub(repos().with("u/r", "other-F16.gguf", "GGUF other"));
    let broken = Server::start(|_| Reply::status(502));
    let place = Place::new();
    let hub = place.hub("x").endpoints([broken.url.clone(), good.url.clone()]);
    fetch(&hub).unwrap();
    let before = broken.connections();
    hub.fetch(&"hf:u/r/other-F16.gguf".parse().unwrap(), None, &Silent).unwrap();
    assert_eq!(broken.connections(), before);
}

#[test]
fn a_damaged_file_of_the_cache_is_never_used() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    let hub = place.hub(&server.url);
    let path = fetch(&hub).unwrap();
    for damaged in [content()[..999].to_vec(), vec![0; content().len()], Vec::new()] {
        std::fs::write(place.blob(), &damaged).unwrap();
        assert_eq!(hub.cached(&model(), None), None);
        assert!(hub.clone().offline(true).fetch(&model(), None, &Silent).is_err());
        assert_content(&hub.fetch(&model(), None, &Silent).unwrap());
        assert_eq!(hub.cached(&model(), None), Some(path.clone()));
    }
    std::fs::write(place.blob(), vec![1; content().len()]).unwrap();
    let error = fetch(&hub.offline(true)).unwrap_err();
    assert!(matches!(&error, Error::Damaged { expected, .. } if *expected == sha256(&content())), "{error:?}");
}

#[test]
fn a_file_that_another_tool_has_fetched_is_found() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    let snapshot = place.repo().join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(place.repo().join("refs")).unwrap();
    std::fs::write(place.repo().join("refs/main"), COMMIT).unwrap();
    std::fs::write(snapshot.join(FILE), content()).unwrap(); // a copy, as on a system without links
    assert_content(&fetch(&place.hub(&server.url)).unwrap());
    assert_eq!(server.connections(), 0);
}

#[test]
fn sizes_are_limited_and_have_to_agree() {
    let (place, server) = (Place::new(), Server::hub(repos()));
    let error = fetch(&place.hub(&server.url).max_file(400_003)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: 400_004, limit: 400_003, .. }), "{error:?}");
    assert_eq!(server.gets().len(), 0);
    fetch(&place.hub(&server.url).max_file(400_004)).unwrap();

    let place = Place::new();
    let server = Server::start(|request| {
        let mut reply = repos().answer(request);
        if request.method == "GET" {
            reply.body.extend_from_slice(b"more");
        }
        reply
    });
    let error = fetch(&place.hub(&server.url)).unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error:?}");
    assert_eq!(place.hub(&server.url).cached(&model(), None), None);
}

#[test]
fn answers_that_are_no_hub_s_are_named() {
    let place = Place::new();
    let cases: [fn(&Request) -> Reply; 4] = [
        |_| Reply { status: 200, body: b"<html>log in</html>".to_vec(), ..Reply::default() },
        |_| Reply::status(200).header("x-repo-commit", "../../x").header("etag", "\"a\""),
        |_| Reply::status(200).header("x-repo-commit", COMMIT),
        |_| Reply::status(200).header("x-repo-commit", "f".repeat(40)).header("etag", "\"a\""),
    ];
    for answer in cases {
        let server = Server::start(answer);
        for model in [format!("hf:u/r@{COMMIT}/{FILE}"), "hf:u/r".to_owned()] {
            let error = place.hub(&server.url).fetch(&model.parse().unwrap(), None, &Silent).unwrap_err();
            assert!(matches!(error, Error::BadAnswer { .. }), "{error:?}");
            message(&error);
        }
    }
    // Not HTTP at all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::Write as _;
            let _ = (&stream).write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
        }
    });
    message(&fetch(&place.hub(&url)).unwrap_err());
    message(&fetch(&place.hub("no address")).unwrap_err());
}

#[test]
fn a_full_disk_or_a_forbidden_folder_is_named() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::hub(repos()));
    let occupied = dir.path().join("hub");
    std::fs::write(&occupied, "a file where the cache should be").unwrap();
    let error = fetch(&hub_at(dir.path(), &server.url)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(message(&error).contains(occupied.to_str().unwrap()), "{error}");
}
