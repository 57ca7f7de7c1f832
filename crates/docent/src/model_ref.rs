//! How a model is named: a path, a name of the catalogue, a repository of the Hugging Face hub, or a web address.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::catalog;
use crate::hub::names;

/// Where a model is to come from, as a user names it.
///
/// | text | means |
/// |---|---|
/// | a path that exists | [`ModelRef::Path`]: a `.gguf` file or a safetensors folder; an existing path always wins |
/// | `bge-small-en-v1.5`, `BAAI/bge-small-en-v1.5` | [`ModelRef::Name`]: a name, alias or repository of the [catalogue](crate::catalog), in any case |
/// | `hf:USER/REPO[@REVISION][/FILE]` | [`ModelRef::Hub`]; a `/` in the revision is written `%2F` |
/// | `https://huggingface.co/USER/REPO[/resolve/REVISION/FILE]` | the same, as the hub's own pages show it |
/// | `http://..`, `https://..` | [`ModelRef::Url`]: one GGUF file; `#sha256=HEX` at the end has it checked |
///
/// ```
/// use docent::ModelRef;
/// let model: ModelRef = "hf:CompendiumLabs/bge-small-en-v1.5-gguf@main/bge-small-en-v1.5-q8_0.gguf".parse()?;
/// assert_eq!(model.to_string(), "hf:CompendiumLabs/bge-small-en-v1.5-gguf@main/bge-small-en-v1.5-q8_0.gguf");
/// let model: ModelRef = "baai/BGE-small-en-v1.5".parse()?;
/// assert_eq!(model, ModelRef::Name("bge-small-en-v1.5".into()));
/// # Ok::<(), docent::model_ref::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelRef {
    /// A file or a folder on this machine.
    Path(PathBuf),
    /// A model of the catalogue, by its canonical name.
    Name(String),
    /// A repository of the hub.
    Hub {
        /// `USER/REPO`.
        repo: String,
        /// A branch, a tag or a commit; `main` if `None`.
        revision: Option<String>,
        /// A file of the repository, with `/` between folders; `None` lets the wanted quantisation choose.
        file: Option<String>,
    },
    /// The address of one GGUF file.
    Url(String),
}

/// A text that names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// There is nothing in it.
    #[error("the name of a model is empty: expected a path, a catalogue name, hf:USER/REPO or a URL")]
    Empty,
    /// It reads like a path, and nothing is there.
    #[error("no model at {}: there is no such file or folder", path.display())]
    NoSuchPath {
        /// The path as given.
        path: PathBuf,
    },
    /// A bare word that is neither a path nor in the catalogue.
    #[error("unknown model {name:?}: neither a path nor in the catalogue{}", suggestion(nearest))]
    UnknownName {
        /// The text as given.
        name: String,
        /// Names of the catalogue that look most like it, nearest first.
        nearest: Vec<&'static str>,
    },
    /// `USER/REPO`, which neither exists as a path nor is in the catalogue.
    #[error(
        "unknown model {name:?}: neither a path nor in the catalogue; for a repository of the hub write hf:{name}{}",
        suggestion(nearest)
    )]
    UnknownRepository {
        /// The text as given.
        name: String,
        /// Names of the catalogue that look most like it, nearest first.
        nearest: Vec<&'static str>,
    },
    /// `hf:...` or a page of the hub that does not name a repository or a file soundly.
    #[error("{text:?} is not hf:USER/REPO[@REVISION][/FILE]: {reason}")]
    BadHub {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A web address that cannot be one.
    #[error("{text:?} is not the address of a file: {reason}")]
    BadUrl {
        /// The text as given, without a password in it.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn suggestion(nearest: &[&str]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

impl FromStr for ModelRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ParseError::Empty);
        }
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            return parse_url(text);
        }
        // A NUL can be in no path; asking the system about it would only give a stranger error.
        if !text.contains('\0') && Path::new(text).exists() {
            return Ok(ModelRef::Path(PathBuf::from(text)));
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(text, rest);
        }
        if let Some(entry) = catalog::find(text) {
            return Ok(ModelRef::Name(entry.name.clone()));
        }
        if reads_like_a_path(text) {
            return Err(ParseError::NoSuchPath { path: PathBuf::from(text) });
        }
        let (name, nearest) = (text.to_owned(), catalog::nearest(text));
        if names::check_repo(text).is_ok() {
            return Err(ParseError::UnknownRepository { name, nearest });
        }
        Err(ParseError::UnknownName { name, nearest })
    }
}

/// Whether a text that names nothing was most likely meant as a path.
fn reads_like_a_path(text: &str) -> bool {
    let path = Path::new(text);
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    path.is_absolute()
        || text.starts_with(['.', '~'])
        || text.contains('\\')
        || text.ends_with('/')
        || text.matches('/').count() > 1
        || ["gguf", "safetensors"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads `USER/REPO[@REVISION][/FILE]`.
fn parse_hub(text: &str, rest: &str) -> Result<ModelRef, ParseError> {
    let bad = |reason| ParseError::BadHub { text: text.to_owned(), reason };
    let (user, rest) = rest.split_once('/').ok_or_else(|| bad("a repository is USER/REPO"))?;
    let (name, file) = match rest.split_once('/') {
        Some((name, file)) => (name, Some(file)),
        None => (rest, None),
    };
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => {
            (name, Some(names::percent_decode(revision).ok_or_else(|| bad("the revision is not UTF-8"))?))
        }
        None => (name, None),
    };
    hub(format!("{user}/{name}"), revision, file.map(str::to_owned)).map_err(bad)
}

/// A hub reference whose three parts are sound.
fn hub(repo: String, revision: Option<String>, file: Option<String>) -> Result<ModelRef, &'static str> {
    names::check_repo(&repo)?;
    if let Some(revision) = &revision {
        names::check_relative(revision).map_err(|_| "the revision is not a plain name")?;
    }
    if let Some(file) = &file {
        names::check_relative(file).map_err(|_| "the file is not a plain relative path")?;
    }
    Ok(ModelRef::Hub { repo, revision, file })
}

/// Reads a web address; a page of the hub becomes the repository that it shows, so that mirrors and the cache serve it.
fn parse_url(text: &str) -> Result<ModelRef, ParseError> {
    let bad = |reason| ParseError::BadUrl { text: crate::hub::without_password(text), reason };
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad("it has a space or a control character"));
    }
    let (_, rest) = text.split_once("://").ok_or_else(|| bad("it has no ://"))?;
    let (address, fragment) = rest.split_once('#').map_or((rest, None), |(a, f)| (a, Some(f)));
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if host.is_empty() || host.starts_with(':') {
        return Err(bad("it has no host"));
    }
    if let Some(fragment) = fragment {
        let hash = fragment.strip_prefix("sha256=").unwrap_or("");
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("only #sha256= and 64 hexadecimal digits may stand behind '#'"));
        }
    }
    let path = path.split('?').next().unwrap_or(path).trim_end_matches('/');
    if ["huggingface.co", "www.huggingface.co", "hf.co"].iter().any(|known| host.eq_ignore_ascii_case(known))
        && fragment.is_none()
    {
        return parse_hub_page(text, path);
    }
    let name = path.rsplit('/').next().unwrap_or("");
    if name.is_empty() {
        return Err(bad("it names a host and no file"));
    }
    Ok(ModelRef::Url(text.to_owned()))
}

/// Reads `USER/REPO`, `USER/REPO/tree/REVISION` and `USER/REPO/{resolve,blob}/REVISION/FILE`.
fn parse_hub_page(text: &str, path: &str) -> Result<ModelRef, ParseError> {
    let bad = |reason| ParseError::BadHub { text: text.to_owned(), reason };
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    let decode = |part: &str| names::percent_decode(part).ok_or_else(|| bad("it is not UTF-8"));
    match parts.as_slice() {
        [user, repo] | [user, repo, "tree"] => hub(format!("{user}/{repo}"), None, None),
        [user, repo, "tree", revision] => hub(format!("{user}/{repo}"), Some(decode(revision)?), None),
        [user, repo, "resolve" | "blob", revision, file] => {
            hub(format!("{user}/{repo}"), Some(decode(revision)?), Some(decode(file)?))
        }
        _ => Err("expected the page of a repository or of a file"),
    }
    .map_err(bad)
}

impl fmt::Display for ModelRef {
    /// The text that reads back as this reference. A password in an address is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Path(path) => write!(f, "{}", path.display()),
            ModelRef::Name(name) => f.write_str(name),
            ModelRef::Hub { repo, revision, file } => {
                write!(f, "hf:{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{}", names::percent_encode(revision, ""))?;
                }
                if let Some(file) = file {
                    write!(f, "/{file}")?;
                }
                Ok(())
            }
            ModelRef::Url(url) => f.write_str(&crate::hub::without_password(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ModelRef, ParseError> {
        text.parse()
    }

    fn hub_ref(repo: &str, revision: Option<&str>, file: Option<&str>) -> ModelRef {
        ModelRef::Hub { repo: repo.into(), revision: revision.map(Into::into), file: file.map(Into::into) }
    }

    #[test]
    fn names_and_aliases_in_any_case() {
        let expected = Ok(ModelRef::Name("all-MiniLM-L6-v2".into()));
        for text in ["all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "sentence-transformers/all-MiniLM-L6-v2"] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn an_existing_path_wins() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().to_str().unwrap();
        assert_eq!(parse(text), Ok(ModelRef::Path(dir.path().to_owned())));
        assert_eq!(parse("src"), Ok(ModelRef::Path("src".into())), "a crate's tests run in its folder");
    }

    #[test]
    fn repositories_of_the_hub() {
        assert_eq!(parse("hf:a/b"), Ok(hub_ref("a/b", None, None)));
        assert_eq!(parse("hf:a/b@v1/x/y.gguf"), Ok(hub_ref("a/b", Some("v1"), Some("x/y.gguf"))));
        assert_eq!(parse("hf:a/b@refs%2Fpr%2F3"), Ok(hub_ref("a/b", Some("refs/pr/3"), None)));
        assert_eq!(parse("https://huggingface.co/a/b"), Ok(hub_ref("a/b", None, None)));
        assert_eq!(
            parse("https://huggingface.co/a/b/resolve/main/x/y%20z.gguf?download=true"),
            Ok(hub_ref("a/b", Some("main"), Some("x/y z.gguf")))
        );
        assert_eq!(parse("https://hf.co/a/b/tree/main"), Ok(hub_ref("a/b", Some("main"), None)));
    }

    #[test]
    fn nothing_climbs_out_of_the_cache() {
        for text in [
            "hf:../b",
            "hf:a/..",
            "hf:a/b/../../c",
            "hf:a/b//c",
            "hf:a/b/c\\..\\d",
            "hf:a/b/\0",
            "hf:a/b@../x",
            "hf:a/b@..%2Fx/f.gguf",
            "hf:a/b/C:x",
            "hf:a",
            "hf:",
            "hf:a/b/",
            "https://huggingface.co/a/b/resolve/main/..%2F..%2Fx",
        ] {
            assert!(matches!(parse(text), Err(ParseError::BadHub { .. })), "{text:?}: {:?}", parse(text));
        }
    }

    #[test]
    fn addresses() {
        let url = "https://example.org/m/x.gguf?sig=1";
        assert_eq!(parse(url), Ok(ModelRef::Url(url.into())));
        assert!(parse(&format!("http://h/x.gguf#sha256={}", "ab".repeat(32))).is_ok());
        for text in [
            "https://",
            "https://host",
            "https://host/",
            "http://u:p@/x",
            "http://:80/x",
            "http://h/x y",
            "http://h/x#y",
            "http://h/x#sha256=12",
        ] {
            assert!(matches!(parse(text), Err(ParseError::BadUrl { .. })), "{text:?}");
        }
        let error = parse("https://me:secret@host/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_typo_gets_the_nearest_names() {
        let error = parse("bge-smal-en-v1.5").unwrap_err();
        assert!(
            matches!(&error, ParseError::UnknownName { nearest, .. } if nearest[0] == "bge-small-en-v1.5"),
            "{error:?}"
        );
        assert!(error.to_string().contains("did you mean bge-small-en-v1.5"), "{error}");
        let error = parse("someone/something-else").unwrap_err().to_string();
        assert!(error.contains("hf:someone/something-else"), "{error}");
    }

    #[test]
    fn what_reads_like_a_path_is_called_one() {
        for text in ["./x", "nothing.gguf", "/no/where", "a/b/c", "~/m.gguf", "no-folder/"] {
            assert!(matches!(parse(text), Err(ParseError::NoSuchPath { .. })), "{text:?}");
        }
        assert_eq!(parse(" "), Err(ParseError::Empty));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "(hf:|https?://)?\\PC{0,40}") {
            match parse(&text) {
                // What is not shown (a password) does not read back.
                Ok(model) if text.contains('@') => prop_assert!(!model.to_string().is_empty()),
                Ok(model) => prop_assert!(matches!(model, ModelRef::Path(_)) || parse(&model.to_string()) == Ok(model)),
                Err(error) => prop_assert!(!error.to_string().contains('\n')),
            }
        }
    }
}
