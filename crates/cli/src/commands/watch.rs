//! `docent watch`: the index stays as the files are.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::RangedU64ValueParser;
use docent::Embedder;
use docent_search::{
    EmbedReport, Index, Polled, Skipped, UpdateOptions, UpdateReport, WatchOptions, WatchStop, Watcher,
};
use serde::Serialize;

use super::get::date;
use super::update::sum;
use crate::console::Console;
use crate::index::{IndexArgs, SearchModelArgs, UpdateProgress};
use crate::model::open_embedder;
use crate::signals;

/// When an update that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Skipped files that are remembered, so that each is told once.
const MOST_TOLD: usize = 10_000;

/// Keep the index up to date while files change.
///
/// Runs until SIGINT or SIGTERM, and writes a line for every update that found something. The model is loaded when it is first needed, and kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    index: IndexArgs,
    /// Watch this collection only; may be given several times [default: all, also those that are added later]
    #[arg(short, long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Make no vectors: search by keyword alone
    #[arg(long)]
    no_embed: bool,
    /// Look at the folders so often, instead of having the system tell what changes
    #[arg(long, value_name = "SECONDS", value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400))]
    poll: Option<u64>,
    /// Write JSON, an object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: SearchModelArgs,
}

/// What an update of one collection did.
#[derive(Serialize)]
struct Pass {
    collection: String,
    files: UpdateReport,
    vectors: Option<EmbedReport>,
}

/// What lasts from one update to the next.
struct Watch<'c> {
    args: Args,
    index: &'c Index,
    console: &'c Console,
    stop: WatchStop,
    embedders: Vec<(String, Embedder)>,
    /// What went wrong last, by collection: told when it changes.
    failures: HashMap<String, String>,
    /// Files that were told to be skipped.
    told: HashSet<(PathBuf, String)>,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let poll = args.poll.map(Duration::from_secs);
    let options = WatchOptions { collections: args.collections.clone(), poll, ..WatchOptions::default() };
    let mut watcher = index.watch(options)?;
    let stop = watcher.stop_handle();
    signals::on_stop({
        let stop = stop.clone();
        move || stop.stop()
    })?;
    let (embedders, failures, told) = (Vec::new(), HashMap::new(), HashSet::new());
    let mut watch = Watch { args, index: &index, console, stop, embedders, failures, told };
    console.note("watching; Ctrl-C ends it");
    loop {
        match watcher.wait() {
            Ok(None) => return Ok(()),
            Ok(Some(changed)) => {
                for Polled { collection, reason } in &changed.polled {
                    console.note(format_args!("the folder of {collection} is looked at every few seconds: {reason}"));
                }
                for collection in &changed.collections {
                    watch.pass(collection, &mut watcher)?;
                }
            }
            Err(error) => {
                watch.failed("", &error.into());
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

impl Watch<'_> {
    /// Updates a collection; what goes wrong is told, and tried again later.
    fn pass(&mut self, collection: &str, watcher: &mut Watcher<'_>) -> anyhow::Result<()> {
        match self.update(collection) {
            Ok(pass) => {
                self.failures.remove(collection);
                self.tell(&pass)
            }
            Err(error) => {
                self.failed(collection, &error);
                watcher.retry(collection, RETRY);
                Ok(())
            }
        }
    }

    fn update(&mut self, collection: &str) -> anyhow::Result<Pass> {
        let progress = UpdateProgress::stopped_by(self.console, self.stop.clone());
        let names = [collection.to_owned()];
        let options = UpdateOptions { collections: names.to_vec(), ..UpdateOptions::default() };
        let files = self.index.update(&options, &progress)?;
        let mut vectors = None;
        if !self.args.no_embed && files.files > 0 {
            for (model, names) in self.args.models.groups(self.index, &names)? {
                let embedder = embedder(&mut self.embedders, &model, &self.args.models, self.console)?;
                sum(&mut vectors, self.index.embed_collections(embedder, &names, options.wait, &progress)?);
            }
        }
        Ok(Pass { collection: collection.to_owned(), files, vectors })
    }

    /// A line, if the update found anything; and the files that it skipped, each once.
    fn tell(&mut self, pass: &Pass) -> anyhow::Result<()> {
        let Pass { collection, files, vectors } = pass;
        for skipped in &files.skipped {
            let is_new = self.told.len() < MOST_TOLD && self.told.insert(key(&skipped.path, &skipped.reason));
            if is_new {
                self.console.warn(format_args!("{} is not indexed: {}", skipped.path.display(), skipped.reason));
            }
        }
        let embedded = vectors.as_ref().map_or(0, |vectors| vectors.embedded);
        if files.added + files.changed + files.removed + embedded == 0 {
            return Ok(());
        }
        let mut out = self.console.out();
        if self.args.json {
            serde_json::to_writer(&mut out, pass)?;
            writeln!(out)?;
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let UpdateReport { added, changed, removed, .. } = files;
            let vectors = if vectors.is_some() { format!("; {embedded} vectors") } else { String::new() };
            writeln!(
                out,
                "{} {collection}: {added} new, {changed} changed, {removed} removed{vectors}",
                date(now.cast_signed())
            )?;
        }
        Ok(out.flush()?)
    }

    /// Tells what went wrong, unless it went wrong in the same way before.
    fn failed(&mut self, collection: &str, error: &anyhow::Error) {
        let message = format!("{error:#}");
        if self.failures.get(collection) != Some(&message) {
            let place = if collection.is_empty() { String::new() } else { format!("{collection}: ") };
            self.console.warn(format_args!("{place}{message}; it is tried again"));
            self.failures.insert(collection.to_owned(), message);
        }
    }
}

fn key(path: &std::path::Path, reason: &Skipped) -> (PathBuf, String) {
    (path.to_owned(), reason.to_string())
}

/// A model, opened when it is needed for the first time.
fn embedder<'e>(
    opened: &'e mut Vec<(String, Embedder)>,
    model: &str,
    args: &SearchModelArgs,
    console: &Console,
) -> anyhow::Result<&'e Embedder> {
    let at = match opened.iter().position(|(name, _)| name == model) {
        Some(at) => at,
        None => {
            opened.push((model.to_owned(), open_embedder(model, &args.open, console)?));
            opened.len() - 1
        }
    };
    Ok(&opened[at].1)
}
