//! Taking over the collections of qmd.
//!
//! qmd's files are read, never written, and no part of the new index. What a user has put into them are collections and contexts;
//! documents come from the files again, in seconds. Its vectors are not taken: they belong to chunks of another cut, with other text
//! around them, in a table that only an extension of SQLite can read. Its models are found by `docent::hub`.

mod config;
mod database;

use std::path::{Path, PathBuf};

use crate::{Collection, Context, Error, Index};

/// Where qmd keeps what it was told: in a database, in a file that people edit, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QmdFiles {
    /// Its index, `index.sqlite`.
    pub index: Option<PathBuf>,
    /// Its configuration, `index.yml`. qmd follows this where they differ, and so does the import.
    pub config: Option<PathBuf>,
}

/// What was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// The names of the collections.
    pub collections: Vec<String>,
    /// How many contexts.
    pub contexts: usize,
    /// What was not, and why; one line each.
    pub problems: Vec<String>,
    /// The models that the configuration names.
    pub models: QmdModels,
}

/// The models that qmd was told to use, as it writes them: `hf:USER/REPO/FILE` or a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QmdModels {
    /// Of vectors.
    pub embed: Option<String>,
    /// The reranker.
    pub rerank: Option<String>,
    /// That of query expansion.
    pub generate: Option<String>,
}

/// A collection with its contexts, as prefixes and texts.
type WithContexts = (Collection, Vec<(String, String)>);

/// What one of the files says.
#[derive(Default)]
struct Imported {
    /// `None` if the file says nothing of collections.
    collections: Option<Vec<WithContexts>>,
    global_context: Option<String>,
    models: QmdModels,
}

impl QmdFiles {
    /// One file, told by its ending: `.yml` and `.yaml` are a configuration, all else is an index.
    pub fn of(path: &Path) -> QmdFiles {
        let is_config = path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        let path = Some(path.to_owned());
        if is_config { QmdFiles { index: None, config: path } } else { QmdFiles { index: path, config: None } }
    }
}

impl Index {
    /// Takes over the collections and contexts of qmd, version 2. One whose name is taken, or whose folder is gone, is
    /// reported and left out. Update commands are not taken over: nothing that a file says is run.
    ///
    /// # Errors
    /// A file that cannot be read or is none of qmd's.
    pub fn import_qmd(&self, files: &QmdFiles) -> Result<ImportReport, Error> {
        let config = files.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
        let mut report = ImportReport { models: config.models, ..ImportReport::default() };
        let index = match files.index.as_deref().map(database::read).transpose() {
            // The configuration says it all.
            Err(error) if config.collections.is_some() => {
                report.problems.push(error.to_string());
                Imported::default()
            }
            index => index?.unwrap_or_default(),
        };
        for (collection, contexts) in config.collections.or(index.collections).unwrap_or_default() {
            if let Err(error) = self.add_collection(&collection) {
                report.problems.push(format!("collection {}: {error}", collection.name));
                continue;
            }
            for (prefix, text) in contexts {
                let context = Context { collection: Some(collection.name.clone()), prefix, text };
                match self.set_context(&context) {
                    Ok(_) => report.contexts += 1,
                    Err(error) => {
                        report.problems.push(format!("context of {}/{}: {error}", collection.name, context.prefix));
                    }
                }
            }
            report.collections.push(collection.name);
        }
        if let Some(text) = config.global_context.or(index.global_context).filter(|text| !text.is_empty()) {
            self.set_context(&Context { collection: None, prefix: String::new(), text })?;
            report.contexts += 1;
        }
        Ok(report)
    }
}

/// A collection as qmd means it: it reads no `.gitignore`, and the same files are to be found.
fn collection(name: String, path: PathBuf, mask: Option<String>, included: Option<bool>) -> Collection {
    let mut collection = Collection::new(name, path);
    if let Some(mask) = mask.filter(|mask| !mask.is_empty()) {
        collection.mask = mask;
    }
    collection.included = included.unwrap_or(true);
    collection.gitignore = false;
    collection
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A folder with a collection's folder `notes` in it, and an index of qmd.
    fn qmd() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        std::fs::create_dir(&notes).unwrap();
        let path = folder.path().join("qmd.sqlite");
        let qmd = Connection::open(&path).unwrap();
        qmd.execute_batch(
            "CREATE TABLE store_collections (name TEXT PRIMARY KEY, path TEXT, pattern TEXT DEFAULT '**/*.md',
                 ignore_patterns TEXT, include_by_default INTEGER DEFAULT 1, update_command TEXT, context TEXT);
             CREATE TABLE store_config (key TEXT PRIMARY KEY, value TEXT);
             INSERT INTO store_config VALUES ('global_context', 'all mine');",
        )
        .unwrap();
        let add = |name: &str, path: &Path| {
            let sql =
                "INSERT INTO store_collections VALUES (?, ?, '**/*.{md,txt}', '[\"drafts/**\"]', 0, 'rm -rf /', ?)";
            qmd.execute(sql, (name, path.to_str().unwrap(), r#"{"/": "notes", "/work": "job"}"#)).unwrap();
        };
        add("notes", &notes);
        add("gone", &folder.path().join("gone"));
        (folder, path)
    }

    #[test]
    fn collections_of_qmd_are_taken_over() {
        let (folder, path) = qmd();
        let index = Index::open(folder.path().join("index.sqlite")).unwrap();
        let report = index.import_qmd(&QmdFiles::of(&path)).unwrap();
        assert_eq!((report.collections, report.contexts), (vec!["notes".to_owned()], 3));
        assert!(report.problems[0].starts_with("collection gone: cannot read"), "{:?}", report.problems);
        let taken = index.collection("notes").unwrap();
        assert_eq!((taken.mask.as_str(), &taken.ignore[..]), ("**/*.{md,txt}", &["drafts/**".to_owned()][..]));
        assert!(!taken.included && !taken.gitignore);
        assert_eq!(index.contexts().unwrap().len(), 3);
        let none = QmdFiles::of(&folder.path().join("none"));
        assert!(matches!(index.import_qmd(&none), Err(Error::Io { .. })));
        let own = QmdFiles::of(index.path());
        assert!(index.import_qmd(&own).unwrap_err().to_string().contains("store_collections"));
    }

    #[test]
    fn the_configuration_wins_where_both_say_something() {
        let (folder, path) = qmd();
        let config = folder.path().join("index.yml");
        let text = "# mine\nglobal_context: from the file\nmodels:\n  embed: hf:u/r/e.gguf\n  other: x\ncollections:\n  \
                    texts:\n    path: notes\n    pattern: '**/*.txt'\n    ignore: [drafts, 'x/**']\n    update: rm -rf /\n    \
                    includeByDefault: false\n    context:\n      /: all\n      /work: |\n        job\n        two\n";
        std::fs::write(&config, text).unwrap();
        let index = Index::open(folder.path().join("index.sqlite")).unwrap();
        let report = index.import_qmd(&QmdFiles { index: Some(path.clone()), config: Some(config.clone()) }).unwrap();
        assert_eq!((report.collections, report.contexts, report.problems), (vec!["texts".to_owned()], 3, vec![]));
        assert_eq!(report.models, QmdModels { embed: Some("hf:u/r/e.gguf".to_owned()), ..QmdModels::default() });
        let taken = index.collection("texts").unwrap();
        assert_eq!((taken.mask.as_str(), taken.ignore.len(), taken.included), ("**/*.txt", 2, false));
        let contexts = index.contexts().unwrap();
        assert_eq!(contexts[0].text, "from the file");
        assert_eq!((contexts[2].prefix.as_str(), contexts[2].text.trim()), ("work", "job\ntwo"));

        // One that says nothing of collections leaves them to the index.
        std::fs::write(&config, "editor_uri: x\n").unwrap();
        let report = index.import_qmd(&QmdFiles { index: Some(path), config: Some(config) }).unwrap();
        assert_eq!((report.collections, report.contexts), (vec!["notes".to_owned()], 3));
    }
}
