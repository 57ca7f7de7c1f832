//! The tools: what each is called and for, and what it does.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use docent_search::{Error, Index, MAX_BYTES, Part, Several, Status};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, ResourceContents, Tool as Description, ToolAnnotations};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::input::{GetInput, MultiGetInput, StatusInput, schema};
use super::text::{Block, quoted};
use crate::dialects::{Count, timestamp};
use crate::failure::{Failure, FailureKind};
use crate::search::question::{FoundDocument, Question, at_most};
use crate::search::{Searcher, names};

/// Bytes of text that an answer has of one document, and of several: beyond what any agent reads at once.
const TEXT: usize = 1 << 20;
const TEXTS: usize = 4 << 20;

/// Bytes of a pattern of `multi_get`, and names in it.
const LONGEST_PATTERN: usize = 4 << 10;
const MOST_NAMES: usize = 100;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Query,
    Get,
    MultiGet,
    Status,
}

/// The state of the index for programs, with the fields of qmd.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusAnswer {
    total_documents: u64,
    needs_embedding: u64,
    has_vector_index: bool,
    collections: Vec<CollectionAnswer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CollectionAnswer {
    name: String,
    path: String,
    pattern: String,
    documents: u64,
    last_updated: Option<String>,
}

impl Tool {
    pub(super) const ALL: [Tool; 4] = [Tool::Query, Tool::Get, Tool::MultiGet, Tool::Status];

    pub(super) fn named(name: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Tool::Query => "query",
            Tool::Get => "get",
            Tool::MultiGet => "multi_get",
            Tool::Status => "status",
        }
    }

    /// What clients are told of it.
    pub(super) fn description(self) -> Description {
        let (title, about) = match self {
            Tool::Query => (
                "Search documents",
                "Find documents of the user by keyword and by meaning, best first. Each result has its file, docid, title, score from 0 to 1, \
                 and the lines that match; read more with get.",
            ),
            Tool::Get => {
                ("Read a document", "Read a document of the index, or some lines of it, by its path or docid.")
            }
            Tool::MultiGet => {
                ("Read several documents", "Read several documents of the index by a glob or a list of names.")
            }
            Tool::Status => ("State of the index", "Tell which collections are indexed, and what is not embedded yet."),
        };
        let annotations =
            ToolAnnotations::with_title(title).read_only(true).destructive(false).idempotent(true).open_world(false);
        Description::new(self.name(), about, schema(self)).with_title(title).with_annotations(annotations)
    }

    /// Does what it is for.
    pub(super) async fn call(self, searcher: Searcher, arguments: JsonObject) -> Result<CallToolResult, Failure> {
        match self {
            Tool::Query => query(&searcher, read_input(arguments)?).await,
            Tool::Get => get(&searcher, read_input(arguments)?).await,
            Tool::MultiGet => multi_get(&searcher, read_input(arguments)?).await,
            Tool::Status => {
                let StatusInput {} = read_input(arguments)?;
                status(&searcher).await
            }
        }
    }
}

/// A document as a resource, by its URI.
pub(super) async fn read(searcher: Searcher, uri: String) -> Result<ResourceContents, Failure> {
    if names::of_uri(&uri).is_none() {
        return Err(Failure::invalid(
            "uri",
            format!("{} is no URI of a document; expected qmd://COLLECTION/PATH", quoted(&uri)),
        ));
    }
    let part = part(&searcher, &uri, "uri", None, None).await?;
    Ok(resource(&part, true))
}

fn read_input<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Failure> {
    let bytes =
        serde_json::to_vec(&arguments).map_err(|error| Failure::new(FailureKind::Malformed, error.to_string()))?;
    crate::body::parse(&bytes)
}

async fn query(searcher: &Searcher, question: Question) -> Result<CallToolResult, Failure> {
    let asked = quoted(&question.text());
    let found = searcher.search_with_what_there_is(question.into_call()?).await?;
    let hits = &found.results.hits;
    let results: Vec<FoundDocument> =
        hits.iter().map(|hit| FoundDocument::new(hit, names::short(&hit.address))).collect();
    let mut text = match results.len() {
        0 => format!("Nothing found for \"{asked}\"."),
        1 => format!("Found 1 document for \"{asked}\":\n"),
        many => format!("Found {many} documents for \"{asked}\":\n"),
    };
    for FoundDocument { docid, file, title, score, .. } in &results {
        // Writing to memory does not fail.
        let _ = write!(text, "\n{docid} {:.0}% {} - {}", score * 100.0, quoted(file), quoted(title));
    }
    for note in &found.notes {
        let _ = write!(text, "\n\nNote: {}", quoted(note));
    }
    let mut answer = CallToolResult::structured(match &found.notes[..] {
        [] => json!({ "results": results }),
        notes => json!({ "results": results, "notes": notes }),
    });
    answer.content = vec![ContentBlock::text(text)];
    Ok(answer)
}

async fn get(searcher: &Searcher, input: GetInput) -> Result<CallToolResult, Failure> {
    let number = |count: Option<Count>| count.map(|Count(number)| number);
    let part = part(searcher, &input.file, "file", number(input.from_line), number(input.max_lines)).await?;
    let resource = resource(&part, input.line_numbers.unwrap_or(true));
    Ok(CallToolResult::success(vec![ContentBlock::resource(resource)]))
}

/// A part of a document by its name, which may be a URI.
async fn part(
    searcher: &Searcher,
    name: &str,
    field: &str,
    from: Option<usize>,
    count: Option<usize>,
) -> Result<Part, Failure> {
    let name = names::local(name, field)?;
    let decoded = names::of_uri(&name).filter(|decoded| *decoded != name);
    searcher
        .read(move |index: &Index| match (index.get(&name, from, count), decoded) {
            (Err(Error::NotFound { .. }), Some(decoded)) => index.get(&decoded, from, count),
            (result, _) => result,
        })
        .await
}

/// What an answer has of a part of a document, with a word about what follows.
fn resource(part: &Part, numbered: bool) -> ResourceContents {
    let (text, cut) = cut(&part.text, TEXT);
    let left = part.after + cut;
    let next = part.first_line + text.split('\n').count();
    let after = (left > 0).then(|| format!("[... {left} more lines; the next is {next}]"));
    Block { document: &part.document, text, first_line: part.first_line, numbered, after }.resource()
}

/// The lines of a text that have so many bytes together, and how many come after them; of a line that is longer alone, the beginning.
fn cut(text: &str, most: usize) -> (&str, usize) {
    if text.len() <= most {
        return (text, 0);
    }
    let end = text.floor_char_boundary(most);
    let end = text[..end].rfind('\n').unwrap_or(end);
    (&text[..end], text[end..].matches('\n').count().max(1))
}

async fn multi_get(searcher: &Searcher, input: MultiGetInput) -> Result<CallToolResult, Failure> {
    at_most(input.pattern.len(), LONGEST_PATTERN, "pattern", "bytes")?;
    let named: Vec<&str> = input.pattern.split(',').collect();
    at_most(named.len(), MOST_NAMES, "pattern", "names")?;
    let named: Vec<String> =
        named.into_iter().map(|name| names::local(name.trim(), "pattern")).collect::<Result<_, _>>()?;
    let max_lines = input.max_lines.map(|Count(lines)| lines);
    let max_bytes = input.max_bytes.map_or(MAX_BYTES, |Count(bytes)| bytes);
    let pattern = named.join(",");
    let several =
        searcher.read(move |index: &Index| index.get_several_within(&pattern, max_lines, max_bytes, TEXTS)).await?;
    let (is_error, content) = (several.documents.is_empty(), contents(&several, input.line_numbers.unwrap_or(true)));
    Ok(if is_error { CallToolResult::error(content) } else { CallToolResult::success(content) })
}

fn contents(several: &Several, numbered: bool) -> Vec<ContentBlock> {
    let mut content = Vec::new();
    if !several.errors.is_empty() {
        let errors: Vec<String> =
            several.errors.iter().map(|error| crate::body::shortened(&error.to_string())).collect();
        content.push(ContentBlock::text(format!("Errors:\n{}", errors.join("\n"))));
    }
    for fetched in &several.documents {
        let document = &fetched.document;
        if let Some(too_large) = fetched.skipped {
            let (name, bytes, most) = (quoted(&names::short(&document.address)), too_large.bytes, too_large.most);
            let advice = "read it with get, or give a larger maxBytes";
            content.push(ContentBlock::text(format!("[SKIPPED: {name} - {bytes} bytes, more than {most}; {advice}]")));
            continue;
        }
        let after = (fetched.cut > 0).then(|| format!("[... truncated {} more lines]", fetched.cut));
        let block = Block { document, text: &document.text, first_line: 1, numbered, after };
        content.push(ContentBlock::resource(block.resource()));
    }
    if several.left_out > 0 {
        let note = format!(
            "[{} more documents left out: the answer has {TEXTS} bytes at most; name them apart]",
            several.left_out
        );
        content.push(ContentBlock::text(note));
    }
    if content.is_empty() {
        content.push(ContentBlock::text("`pattern` names no document"));
    }
    content
}

async fn status(searcher: &Searcher) -> Result<CallToolResult, Failure> {
    let status = searcher.read(Index::status).await?;
    let text = told(&status);
    let answer = StatusAnswer {
        total_documents: status.documents,
        needs_embedding: status.texts_to_embed,
        has_vector_index: status.models.iter().any(|model| model.vectors > 0),
        collections: status.collections.into_iter().map(CollectionAnswer::from).collect(),
    };
    let mut result = CallToolResult::structured(serde_json::to_value(answer).unwrap_or(Value::Null));
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

fn told(status: &Status) -> String {
    let mut text = format!("Documents: {}\nTo be embedded: {} texts\n", status.documents, status.texts_to_embed);
    // Writing to memory does not fail.
    for model in &status.models {
        let current = if model.is_current { "" } else { ", not in use" };
        let _ = writeln!(text, "Vectors: {} of {}{current}", model.vectors, quoted(&model.name));
    }
    if status.models.is_empty() {
        text.push_str("Vectors: none; `docent update` makes them\n");
    }
    text.push_str("Collections:");
    for collection in &status.collections {
        let name = &collection.collection.name;
        let path = collection.collection.path.display().to_string();
        let updated = collection.updated_at.map_or("never".to_owned(), time);
        let _ = write!(text, "\n- {name}: {} documents of {}, updated {updated}", collection.documents, quoted(&path));
    }
    if status.collections.is_empty() {
        text.push_str(" none; `docent collection add FOLDER` adds one");
    }
    text
}

/// Seconds since 1970 as RFC 3339 has them.
fn time(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    timestamp(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}

impl From<docent_search::CollectionStatus> for CollectionAnswer {
    fn from(status: docent_search::CollectionStatus) -> Self {
        let collection = status.collection;
        CollectionAnswer {
            name: collection.name,
            path: collection.path.display().to_string(),
            pattern: collection.mask,
            documents: status.documents,
            last_updated: status.updated_at.map(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_lines() {
        assert_eq!(cut("a\nb\nc", 5), ("a\nb\nc", 0));
        assert_eq!(cut("a\nb\nc", 4), ("a\nb", 1));
        assert_eq!(cut("a\nb\nc", 2), ("a", 2));
        assert_eq!(cut("ééé", 3), ("é", 1));
    }
}
