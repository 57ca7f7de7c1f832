//! Changes of files are noticed, and nothing else.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::fs;
use std::time::{Duration, Instant};

use docent_search::{Collection, WatchOptions, Watcher};
use support::Place;

fn options() -> WatchOptions {
    WatchOptions { quiet: Duration::from_millis(100), longest: Duration::from_secs(1), ..WatchOptions::default() }
}

/// The collections of the next change.
fn next(watcher: &mut Watcher<'_>) -> Vec<String> {
    watcher.wait().unwrap().expect("nobody stops it").collections
}

/// Whether a watcher has nothing to tell for a while. It is of no use afterwards.
fn is_quiet(watcher: &mut Watcher<'_>) -> bool {
    let stop = watcher.stop_handle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            stop.stop();
        });
        watcher.wait().unwrap().is_none()
    })
}

#[test]
fn changes_of_files_are_told() {
    let place = Place::new(&[("a.md", "# A"), ("old/b.md", "# B")]);
    let mut watcher = place.index.watch(options()).unwrap();
    assert_eq!(next(&mut watcher), ["notes"], "what changed before");

    place.write("a.md", "# A2");
    assert_eq!(next(&mut watcher), ["notes"]);
    assert_eq!(place.update().changed, 1);

    place.write("new/deep/c.md", "# C");
    assert_eq!(next(&mut watcher), ["notes"]);
    assert_eq!(place.update().added, 1);
    place.write("new/deep/c.md", "# C2");
    assert_eq!(next(&mut watcher), ["notes"], "a new folder is watched");

    fs::rename(place.path("old"), place.folder.path().join("elsewhere")).unwrap();
    assert_eq!(next(&mut watcher), ["notes"], "a folder that goes takes its documents along");
    assert_eq!(place.update().removed, 1);
    fs::remove_file(place.path("a.md")).unwrap();
    assert_eq!(next(&mut watcher), ["notes"]);
    assert!(is_quiet(&mut watcher));
}

#[test]
fn what_is_ignored_is_no_change() {
    let place = Place::new(&[("a.md", "# A")]);
    place.write(".gitignore", "secret/\n");
    for folder in ["secret", ".hidden", "node_modules", "sub"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    place.update();
    let mut watcher = place.index.watch(options()).unwrap();
    next(&mut watcher);
    for path in ["a.md~", "sub/a.txt", "secret/b.md", ".hidden/c.md", "node_modules/d.md", ".git"] {
        place.write(path, "# X");
    }
    fs::remove_file(place.path("a.md~")).unwrap();
    fs::read(place.path("a.md")).unwrap();
    assert!(is_quiet(&mut watcher));
}

#[test]
fn changes_of_what_is_ignored_count() {
    let place = Place::new(&[("a.md", "# A"), ("secret.md", "# S")]);
    let mut watcher = place.index.watch(options()).unwrap();
    next(&mut watcher);
    place.write(".gitignore", "secret.md\n");
    assert_eq!(next(&mut watcher), ["notes"]);
    assert_eq!(place.update().removed, 1);
}

#[test]
fn collections_come_and_go() {
    let place = Place::new(&[("a.md", "# A")]);
    let mut watcher = place.index.watch(options()).unwrap();
    next(&mut watcher);
    let other = place.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    place.index.add_collection(&Collection::new("other", &other)).unwrap();
    assert_eq!(next(&mut watcher), ["other"]);
    place.index.remove_collection("notes").unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    fs::write(other.join("b.md"), "# B").unwrap();
    place.write("a.md", "# A2");
    assert_eq!(next(&mut watcher), ["other"]);
    assert!(is_quiet(&mut watcher));
    assert!(place.index.watch(WatchOptions { collections: vec!["none".to_owned()], ..options() }).is_err());
}

#[test]
fn a_busy_folder_is_told_of_in_time() {
    let place = Place::new(&[("a.md", "# A")]);
    let mut watcher = place.index.watch(options()).unwrap();
    next(&mut watcher);
    let stop = watcher.stop_handle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..1000 {
                if stop.is_stopped() {
                    break;
                }
                place.write("a.md", format!("# {round}"));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        assert_eq!(next(&mut watcher), ["notes"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "changes without end are told nevertheless");
        stop.stop();
    });
}

#[test]
fn folders_are_polled_if_asked_for_and_where_they_are_missing() {
    let place = Place::new(&[("a.md", "# A")]);
    let poll = Some(Duration::from_millis(200));
    let mut watcher = place.index.watch(WatchOptions { poll, ..options() }).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut watcher), ["notes"]);
    }
    let moved = place.folder.path().join("elsewhere");
    fs::rename(place.path(""), &moved).unwrap();
    let mut watcher = place.index.watch(options()).unwrap();
    let changed = watcher.wait().unwrap().unwrap();
    assert_eq!(
        (changed.polled[0].collection.as_str(), changed.polled[0].reason.as_str()),
        ("notes", "its folder is not there")
    );
    fs::rename(&moved, place.path("")).unwrap();
    watcher.retry("notes", Duration::ZERO);
    assert_eq!(next(&mut watcher), ["notes"]);
    place.write("a.md", "# A2");
    let begun = Instant::now();
    assert_eq!(next(&mut watcher), ["notes"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "by events again, sooner than by polling");
}

#[test]
fn an_error_of_the_database_loses_no_change_and_a_bad_mask_stops_no_other_collection() {
    let place = Place::new(&[("a.md", "# A")]);
    let other = place.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let mut watcher = place.index.watch(options()).unwrap();
    next(&mut watcher);
    let database = rusqlite::Connection::open(place.folder.path().join("index/index.sqlite")).unwrap();
    database.execute_batch("PRAGMA legacy_alter_table = 1; ALTER TABLE documents RENAME TO gone").unwrap();
    fs::remove_file(place.path("a.md")).unwrap();
    assert!(watcher.wait().is_err());
    database.execute_batch("ALTER TABLE gone RENAME TO documents").unwrap();
    assert_eq!(next(&mut watcher), ["notes"], "the next call tries again");

    place.index.add_collection(&Collection::new("other", &other)).unwrap();
    database.execute("UPDATE collections SET mask = '[' WHERE name = 'notes'", []).unwrap();
    let mut watcher = place.index.watch(options()).unwrap();
    let changed = watcher.wait().unwrap().unwrap();
    assert_eq!((changed.collections.len(), changed.polled.len()), (2, 1));
    fs::write(other.join("b.md"), "# B").unwrap();
    assert_eq!(next(&mut watcher), ["other"]);
}
