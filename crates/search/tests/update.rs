//! Files become documents, and stay what the files are.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use docent_search::{Collection, Error, Index, Silent, Skipped, UpdateOptions, Wait};
use support::{EMBEDDER, Place, open};

fn counts(place: &Place) -> (u64, u64, u64, u64) {
    let report = place.update();
    assert_eq!(report.files, report.added + report.changed + report.unchanged, "{report:?}");
    (report.added, report.changed, report.unchanged, report.removed)
}

/// Sets a file's time back, so that it is past doubt.
fn age(place: &Place, path: &str) {
    let file = fs::File::options().write(true).open(place.path(path)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

#[test]
fn changes_of_files_become_changes_of_documents() {
    let place = Place::new(&[("a.md", "# A"), ("b/c.md", "# C"), ("d.txt", "no")]);
    assert_eq!(counts(&place), (0, 0, 2, 0));
    place.write("a.md", "# A2");
    assert_eq!(counts(&place), (0, 1, 1, 0));
    place.write("n.md", "# New");
    fs::remove_file(place.path("b/c.md")).unwrap();
    assert_eq!(counts(&place), (1, 0, 1, 1));
    place.write("b/c.md", "# C");
    assert_eq!(counts(&place), (1, 0, 2, 0), "it came back");
}

#[test]
fn an_emptied_file_leaves_the_results() {
    let place = Place::new(&[("a.md", "# A"), ("b.md", "# B")]);
    place.write("a.md", " \n");
    let report = place.update();
    assert_eq!((report.removed, report.skipped.len()), (1, 0));
    assert_eq!(place.index.collections().unwrap()[0].documents, 1);
    assert_eq!(place.update().removed, 0, "told once");
}

#[test]
fn a_file_with_its_old_time_and_size_is_not_read_again_unless_asked() {
    let place = Place::new(&[("a.md", "# A")]);
    age(&place, "a.md");
    place.update();
    // The same size, another text, and a time that lies.
    let time = fs::metadata(place.path("a.md")).unwrap().modified().unwrap();
    place.write("a.md", "# B");
    fs::File::options().write(true).open(place.path("a.md")).unwrap().set_modified(time).unwrap();
    assert_eq!(counts(&place), (0, 0, 1, 0));
    let options = UpdateOptions { reread: true, ..UpdateOptions::default() };
    assert_eq!(place.index.update(&options, &Silent).unwrap().changed, 1);
}

#[test]
fn a_file_that_changed_just_before_it_was_read_is_read_again() {
    let place = Place::new(&[("a.md", "# A")]);
    let time = fs::metadata(place.path("a.md")).unwrap().modified().unwrap();
    place.write("a.md", "# B");
    fs::File::options().write(true).open(place.path("a.md")).unwrap().set_modified(time).unwrap();
    assert_eq!(counts(&place), (0, 1, 0, 0));
}

#[test]
fn what_is_no_text_is_reported() {
    let place = Place::new(&[("good.md", "# Good")]);
    place.write("binary.md", b"\x7fELF\0\0");
    place.write("latin.md", b"caf\xe9 au lait");
    fs::File::create(place.path("huge.md")).unwrap().set_len(100 << 20).unwrap();
    let report = place.update();
    let skipped: Vec<(String, Skipped)> = report
        .skipped
        .into_iter()
        .map(|skipped| (skipped.path.file_name().unwrap().to_str().unwrap().to_owned(), skipped.reason))
        .collect();
    let mut sorted = skipped.clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("binary.md", Skipped::Binary), ("huge.md", Skipped::TooLarge), ("latin.md", Skipped::NotUtf8(3))];
    assert_eq!(sorted, expected.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(place.index.collections().unwrap()[0].documents, 1);
}

#[test]
fn web_pages_are_indexed_by_their_text() {
    let place = Place::new(&[]);
    let mut collection = place.index.collection("notes").unwrap();
    collection.mask = "**/*.html".to_owned();
    place.index.change_collection(&collection).unwrap();
    place.write("a.html", "<title>All about cats</title><nav>Menu</nav><h1>Cats</h1><p>The cat <i>sat</i>.</p>");
    place.write("empty.html", "<script>document.write('x')</script>");
    let report = place.update();
    let reasons: Vec<_> = report.skipped.iter().map(|skipped| skipped.reason.clone()).collect();
    assert_eq!((report.added, reasons), (1, vec![Skipped::NoText]));
    let part = place.index.get("a.html", None, None).unwrap();
    assert_eq!((part.document.title.as_str(), part.text.as_str()), ("All about cats", "# Cats\n\nThe cat sat.\n"));
    let found = |query: &str| place.index.search_keywords(query, &Default::default()).unwrap().hits.len();
    assert_eq!((found("sat"), found("menu"), found("script")), (1, 0, 0));
    age(&place, "a.html");
    assert_eq!(place.update().unchanged, 1);
    assert_eq!(place.update().unchanged, 1);
}

#[test]
fn ignored_files_are_left_out_unless_they_are_wanted() {
    let place = Place::new(&[("a.md", "# A")]);
    place.write(".gitignore", "secret.md\n");
    place.write("secret.md", "# S");
    place.write(".hidden/x.md", "# H");
    place.write("node_modules/x.md", "# N");
    place.write("drafts/x.md", "# D");
    let mut collection = place.index.collection("notes").unwrap();
    collection.ignore = vec!["drafts".to_owned()];
    place.index.change_collection(&collection).unwrap();
    assert_eq!(place.update().files, 1);
    collection.gitignore = false;
    collection.ignore.clear();
    place.index.change_collection(&collection).unwrap();
    assert_eq!(place.update().files, 3);
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_of_the_folder_only() {
    use std::os::unix::fs::symlink;
    let place = Place::new(&[("a.md", "# A")]);
    let outside = place.folder.path().join("outside.md");
    fs::write(&outside, "# secret").unwrap();
    symlink(place.path("a.md"), place.path("inside.md")).unwrap();
    symlink(&outside, place.path("out.md")).unwrap();
    symlink("nowhere", place.path("broken.md")).unwrap();
    symlink(place.folder.path(), place.path("up")).unwrap();
    let report = place.update();
    assert_eq!(report.files, 2);
    let mut reasons: Vec<String> = report.skipped.iter().map(|skipped| format!("{:?}", skipped.reason)).collect();
    reasons.sort();
    assert_eq!(reasons, ["BrokenLink", "LinkOutside", "LinkToFolder"]);
}

#[test]
fn a_missing_folder_is_an_error_and_takes_nothing_away() {
    let place = Place::new(&[("a.md", "# A")]);
    let moved = place.folder.path().join("elsewhere");
    fs::rename(place.path(""), &moved).unwrap();
    let error = place.index.update(&UpdateOptions::default(), &Silent).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the folder of the collection"), "{error}");
    fs::rename(&moved, place.path("")).unwrap();
    assert_eq!(counts(&place), (0, 0, 1, 0));
}

#[test]
fn chunks_are_embedded_once() {
    let long: String = (0..60).map(|i| format!("## Part {i}\n\nthe cat number {i} sat on the mat\n\n")).collect();
    let place = Place::new(&[("a.md", &long), ("copy.md", &long), ("b.md", "a dog")]);
    let first = place.embed();
    assert_eq!((first.texts, first.reused), (2, 0), "two files, one text");
    assert_eq!(first.embedded, first.chunks);
    assert!(first.chunks > 10);
    assert_eq!((place.embed().chunks, place.embed().embedded), (0, 0));

    // An edit at the end leaves the chunks before it alone.
    place.write("a.md", format!("{long}\n## Last\n\nrain falls\n"));
    place.update();
    let second = place.embed();
    assert_eq!(second.texts, 1);
    assert!(second.embedded <= 3 && second.reused >= second.chunks - 3, "{second:?}");
}

#[test]
fn another_model_gets_vectors_of_its_own() {
    let place = Place::new(&[("a.md", "the cat sat"), ("b.md", "a dog")]);
    assert_eq!(place.embed().embedded, 2);
    let other = open("encoders/modern-bert");
    let report = place.index.embed(&other, Wait::No, &Silent).unwrap();
    assert_eq!((report.embedded, report.model.as_str()), (2, "modern-bert"));
    assert_eq!(place.embed().embedded, 0, "and the first keeps its own");
}

#[test]
fn collections_are_embedded_one_by_one_each_with_its_model() {
    let place = Place::new(&[("a.md", "the cat sat")]);
    let folder = place.folder.path().join("other");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("b.md"), "a dog barks").unwrap();
    place.index.add_collection(&Collection::new("other", &folder)).unwrap();
    place.update();
    let embed = |model: &docent::Embedder, name: &str| {
        place.index.embed_collections(model, &[name.to_owned()], Wait::No, &Silent).unwrap()
    };
    let second = open("encoders/modern-bert");
    assert_eq!(embed(&EMBEDDER, "notes").embedded, 1);
    assert_eq!(place.index.status().unwrap().texts_to_embed, 1);
    assert_eq!(embed(&second, "other").embedded, 1);
    let status = place.index.status().unwrap();
    assert_eq!(status.texts_to_embed, 0);
    assert!(status.models.len() == 2 && status.models.iter().all(|model| model.is_current), "{:?}", status.models);
    assert_eq!(place.index.cleanup(Wait::No, &Silent).unwrap().vectors, 0, "both are in use");

    assert_eq!(place.embed().embedded, 1, "all with the first from now on");
    assert_eq!(place.index.cleanup(Wait::No, &Silent).unwrap().vectors, 1);
    assert!(place.index.embed_collections(&EMBEDDER, &["none".to_owned()], Wait::No, &Silent).is_err());
}

#[test]
fn a_stopped_update_goes_on_another_time() {
    struct Stopped;
    impl docent_search::Progress for Stopped {
        fn is_stopped(&self) -> bool {
            true
        }
    }
    let place = Place::new(&[("a.md", "the cat sat")]);
    place.write("b.md", "a dog");
    assert_eq!(place.index.update(&UpdateOptions::default(), &Stopped).unwrap().added, 0);
    assert_eq!(place.index.embed(&EMBEDDER, Wait::No, &Stopped).unwrap().embedded, 0);
    assert_eq!((place.update().added, place.embed().embedded), (1, 2));
}

#[test]
fn collections_have_a_life() {
    let place = Place::new(&[("a.md", "# A")]);
    let index = &place.index;
    let twice = index.add_collection(&Collection::new("notes", place.path("")));
    assert!(matches!(twice, Err(Error::CollectionExists { .. })));
    assert!(matches!(index.add_collection(&Collection::new("x/y", place.path(""))), Err(Error::CollectionName { .. })));
    let file = Collection::new("file", place.path("a.md"));
    assert!(matches!(index.add_collection(&file), Err(Error::NotAFolder { .. })));
    index.rename_collection("notes", "texts").unwrap();
    assert_eq!(index.collection("notes").unwrap_err().to_string(), "no collection is named \"notes\"; there are texts");
    assert_eq!(index.remove_collection("texts").unwrap(), 1);
    assert_eq!(index.collections().unwrap().len(), 0);
}

#[test]
fn a_lost_index_gets_its_collections_back() {
    let place = Place::new(&[("a.md", "# A")]);
    let context = docent_search::Context { collection: Some("notes".into()), prefix: "a".into(), text: "said".into() };
    place.index.set_context(&context).unwrap();
    let path = place.folder.path().join("index/index.sqlite");
    for ending in ["sqlite", "sqlite-wal", "sqlite-shm"] {
        let _ = fs::remove_file(path.with_extension(ending));
    }
    let index = Index::open(&path).unwrap();
    assert_eq!(index.contexts().unwrap(), [context]);
    assert_eq!(index.update(&UpdateOptions::default(), &Silent).unwrap().added, 1);
}

#[test]
fn two_updates_at_once_are_told_or_wait() {
    let place = Place::new(&[("a.md", "# A")]);
    let lock = fs::File::open(place.folder.path().join("index/index.lock")).unwrap();
    lock.lock().unwrap();
    let options = UpdateOptions { wait: Wait::No, ..UpdateOptions::default() };
    assert!(matches!(place.index.update(&options, &Silent), Err(Error::Locked { .. })));
    assert!(matches!(place.index.embed(&EMBEDDER, Wait::No, &Silent), Err(Error::Locked { .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.index.update(&UpdateOptions::default(), &Silent).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        lock.unlock().unwrap();
        assert_eq!(waiting.join().unwrap().files, 1);
    });
}

#[test]
fn code_that_another_rule_has_cut_is_cut_anew_and_nothing_else() {
    let place = Place::new(&[("a.md", "the cat sat"), ("b.py", "def dog():\n    bark\n")]);
    let mut collection = place.index.collection("notes").unwrap();
    collection.mask = "**/*".to_owned();
    place.index.change_collection(&collection).unwrap();
    place.update();
    assert_eq!((place.embed().texts, place.embed().texts), (2, 0));
    // As a version with another rule leaves it.
    let database = rusqlite::Connection::open(place.index.path()).unwrap();
    database.execute("UPDATE settings SET value = 'another' WHERE key LIKE 'code of %'", []).unwrap();
    let report = place.embed();
    assert_eq!((report.texts, report.chunks, report.reused, report.embedded), (1, 1, 1, 0));
}
