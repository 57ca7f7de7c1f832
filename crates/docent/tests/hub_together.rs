//! Several threads and processes at one cache, and one that dies at it. The hub is a server on this machine.

#![allow(clippy::unwrap_used)] // clippy sees tests in functions marked as such, not in their helpers

mod hub_server;

use std::path::Path;
use std::time::{Duration, Instant};

use hub_server::place::{Place, assert_content, fetch, hub_at, model, repos};
use hub_server::{Request, Server};

#[test]
fn two_fetches_at_once_make_one_download() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        // Half of it, a pause, and the end of the connection: the other has all the time to interfere.
        if request.method == "GET" && request.range().is_none() {
            reply.cut(200_000).hang(Duration::from_millis(300))
        } else {
            reply
        }
    });
    let hubs = [place.hub(&server.url), place.hub(&server.url), place.hub(&server.url)];
    std::thread::scope(|scope| {
        for hub in &hubs {
            scope.spawn(|| assert_content(&fetch(hub).unwrap()));
        }
    });
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [None, Some(200_000)]);
}

/// The body of a second process; see [`run_child`].
#[test]
#[ignore = "run by other tests as a process of its own"]
fn child() {
    let dir = std::env::var("DOCENT_TEST_DIR").unwrap();
    let endpoint = std::env::var("DOCENT_TEST_ENDPOINT").unwrap();
    assert_content(&fetch(&hub_at(Path::new(&dir), &endpoint)).unwrap());
}

/// Starts a process that fetches into the same cache.
fn run_child(place: &Place, endpoint: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env("DOCENT_TEST_DIR", place.dir.path())
        .env("DOCENT_TEST_ENDPOINT", endpoint)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_processes_at_once_make_one_download() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        if request.method == "GET" && request.range().is_none() {
            reply.cut(200_000).hang(Duration::from_millis(300))
        } else {
            reply
        }
    });
    let mut children = [run_child(&place, &server.url), run_child(&place, &server.url)];
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(server.gets().iter().map(Request::range).collect::<Vec<_>>(), [None, Some(200_000)]);
}

#[test]
fn a_killed_process_leaves_a_download_that_goes_on() {
    let place = Place::new();
    let server = Server::start(|request| {
        let reply = repos().answer(request);
        if request.method == "GET" && request.range().is_none() {
            reply.cut(200_000).hang(Duration::from_millis(450))
        } else {
            reply
        }
    });
    let mut child = run_child(&place, &server.url);
    let start = Instant::now();
    while std::fs::metadata(place.incomplete()).map_or(0, |m| m.len()) < 200_000 {
        assert!(start.elapsed() < Duration::from_secs(20), "the child does not get on");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.blob().exists());
    let hub = place.hub(&server.url);
    assert_eq!(hub.cached(&model(), None), None, "half a file is no model");
    assert_content(&fetch(&hub).unwrap());
    assert_eq!(
        server.gets().last().unwrap().range(),
        Some(200_000),
        "the rest only, and the lock died with its holder"
    );
}
