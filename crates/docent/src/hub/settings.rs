//! Where things are and what is allowed, from the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The public hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Everything that a fetch depends on and its caller may change.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The hub cache (`.../huggingface/hub`), shared with every tool that uses its layout.
    pub(super) hub_cache: Option<PathBuf>,
    /// Docent's own cache: files by address, converted models, what was verified.
    pub(super) docent_cache: Option<PathBuf>,
    /// Where qmd keeps its models.
    pub(super) qmd_models: Option<PathBuf>,
    /// Hubs in the order in which they are asked, without a slash at the end. The first alone gets the token.
    pub(super) endpoints: Vec<String>,
    /// The token of the user.
    pub(super) token: Option<String>,
    /// Certificates to trust instead of the built-in ones, in PEM form: those of a company's own servers and proxies.
    pub(super) ca_file: Option<PathBuf>,
    /// No network.
    pub(super) offline: bool,
    /// How long a connection may take to come about.
    pub(super) connect_timeout: Duration,
    /// How long the hub may take to accept a connection when there is another source (see the `pypi` module).
    pub(super) quick_timeout: Duration,
    /// How long a server may be silent in the middle of an answer.
    pub(super) read_timeout: Duration,
    /// How often a request is tried again.
    pub(super) retries: u32,
    /// The first pause before that; it doubles each time.
    pub(super) backoff: Duration,
    /// Largest file that is fetched.
    pub(super) max_file: u64,
    /// Commands that run the package installer, in the order in which they are tried.
    pub(super) pip: Vec<Vec<String>>,
}

/// The longest pause that a server can impose with `Retry-After`.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

impl Settings {
    /// Reads the process's environment.
    pub(super) fn from_env() -> Settings {
        Settings::from_lookup(&|name| std::env::var_os(name), std::env::home_dir())
    }

    /// Reads variables through `var`. An empty variable counts as unset.
    pub(super) fn from_lookup(var: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Settings {
        let path =
            |name: &str| var(name).filter(|v| !v.is_empty()).map(|v| expand_home(PathBuf::from(v), home.as_deref()));
        let text = |name: &str| {
            var(name).and_then(|v| v.into_string().ok()).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
        };

        let cache_home = path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        let hf_home = path("HF_HOME").or_else(|| cache_home.as_ref().map(|cache| cache.join("huggingface")));
        let hub_cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hf_home.as_ref().map(|home| home.join("hub")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| hf_home.as_ref().map(|home| home.join("token")));
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(|| read_token(&token_file?));

        let mut endpoints = vec![text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())];
        endpoints
            .extend(text("DOCENT_HF_MIRRORS").iter().flat_map(|list| list.split(',')).map(|url| url.trim().to_owned()));
        let endpoints = clean_endpoints(endpoints);

        Settings {
            hub_cache,
            qmd_models: cache_home.as_ref().map(|cache| cache.join("qmd").join("models")),
            docent_cache: path("DOCENT_CACHE").or_else(|| cache_home.map(|cache| cache.join("docent"))),
            endpoints,
            token,
            ca_file: path("SSL_CERT_FILE").or_else(|| path("REQUESTS_CA_BUNDLE").filter(|p| p.is_file())),
            offline: text("HF_HUB_OFFLINE").is_some_and(|v| is_true(&v)),
            connect_timeout: Duration::from_secs(10),
            quick_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(30),
            retries: 4,
            backoff: Duration::from_millis(500),
            max_file: 64 << 30,
            pip: [&["python3", "-m", "pip"][..], &["python", "-m", "pip"], &["pip"]]
                .iter()
                .map(|command| command.iter().map(|&word| word.to_owned()).collect())
                .collect(),
        }
    }
}

/// Drops slashes at the end, empty ones and repetitions.
pub(super) fn clean_endpoints(endpoints: Vec<String>) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    for endpoint in endpoints {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !endpoint.is_empty() && !clean.contains(&endpoint) {
            clean.push(endpoint);
        }
    }
    clean
}

/// What the hub's own client takes for true.
fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// `~` and `~/x`, which a shell leaves alone inside a variable.
fn expand_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// The token that the hub's command line has stored, if any.
fn read_token(path: &Path) -> Option<String> {
    // A token is some 40 bytes; whatever is larger is another file.
    if std::fs::metadata(path).ok()?.len() > 4096 {
        return None;
    }
    let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Settings {
        let vars: Vec<(String, OsString)> = vars.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        let lookup = move |name: &str| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        Settings::from_lookup(&lookup, Some(PathBuf::from("/home/u")))
    }

    fn hub(vars: &[(&str, &str)]) -> String {
        read(vars).hub_cache.unwrap().to_str().unwrap().replace('\\', "/")
    }

    #[test]
    fn the_hub_cache_follows_the_hub_clients_rules() {
        assert_eq!(hub(&[]), "/home/u/.cache/huggingface/hub");
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(hub(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/h/hub");
        assert_eq!(hub(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), "/c");
        assert_eq!(hub(&[("HF_HOME", "~/models")]), "/home/u/models/hub");
        assert_eq!(hub(&[("HF_HOME", "")]), "/home/u/.cache/huggingface/hub", "empty is unset");
    }

    #[test]
    fn docents_cache() {
        let cache = |vars: &[(&str, &str)]| read(vars).docent_cache;
        assert_eq!(cache(&[]), Some("/home/u/.cache/docent".into()));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Some("/x/docent".into()));
        assert_eq!(cache(&[("DOCENT_CACHE", "/d")]), Some("/d".into()));
        assert_eq!(Settings::from_lookup(&|_| None, None).docent_cache, None);
    }

    #[test]
    fn endpoints_in_order() {
        assert_eq!(read(&[]).endpoints, ["https://huggingface.co"]);
        let vars =
            [("HF_ENDPOINT", "http://a/"), ("DOCENT_HF_MIRRORS", "http://b/hub/, http://a,, https://huggingface.co")];
        assert_eq!(read(&vars).endpoints, ["http://a", "http://b/hub", "https://huggingface.co"]);
    }

    #[test]
    fn tokens() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).token, None);
        std::fs::write(dir.path().join("token"), "hf_stored\n").unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).token.as_deref(), Some("hf_stored"));
        assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", " hf_var ")]).token.as_deref(), Some("hf_var"));
        let other = dir.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        assert_eq!(
            read(&[("HF_HOME", home), ("HF_TOKEN_PATH", other.to_str().unwrap())]).token.as_deref(),
            Some("hf_other")
        );
    }

    #[test]
    fn offline_words() {
        for (word, expected) in
            [("1", true), ("True", true), ("YES", true), ("on", true), ("0", false), ("", false), ("no", false)]
        {
            assert_eq!(read(&[("HF_HUB_OFFLINE", word)]).offline, expected, "{word}");
        }
    }
}
