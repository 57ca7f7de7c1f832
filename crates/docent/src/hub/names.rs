//! What may become part of a path or of a web address.
//!
//! A repository, a revision and a file name come from a command line, from a server's listing or from a catalogue,
//! and all of them end up as folders and files below the cache. None may climb out of it, on any system: a name that is
//! harmless on one (`C:x`, `a\b`) is a path on another, so the strictest reading holds everywhere.

/// Longest name that is accepted; far above any real one, below what file systems and servers refuse in odd ways.
const MAX_NAME: usize = 512;

/// Checks `USER/REPO`: two parts of letters, digits, `.`, `_` and `-`.
pub(crate) fn check_repo(repo: &str) -> Result<(), &'static str> {
    let Some((user, name)) = repo.split_once('/') else {
        return Err("a repository is USER/REPO");
    };
    if name.contains('/') {
        return Err("a repository is USER/REPO, two parts");
    }
    for part in [user, name] {
        if part.is_empty() {
            return Err("a repository is USER/REPO, neither part empty");
        }
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err("a repository name has letters, digits, '.', '_' and '-' only");
        }
        // The hub itself forbids both; "--" separates the parts in the name of the cache folder.
        if part.starts_with('.') || part.contains("..") || part.contains("--") {
            return Err("a repository name does not start with '.' and has no '..' or '--'");
        }
    }
    if repo.len() > MAX_NAME {
        return Err("the repository name is too long");
    }
    Ok(())
}

/// Checks a file of a repository, or a revision: a relative path with `/` between plain parts.
pub(crate) fn check_relative(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.len() > MAX_NAME {
        return Err("it is too long");
    }
    if path.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c)) {
        return Err("it has a control character or one of \\ : * ? \" < > |");
    }
    if path.starts_with('/') {
        return Err("it is an absolute path");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("it has an empty part"),
            "." | ".." => return Err("it has a '.' or '..' part"),
            // Windows drops these at the end of a name, so that two names would meet in one file.
            p if p.ends_with('.') || p.ends_with(' ') => return Err("a part of it ends in '.' or a space"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether this is a whole commit id of git: 40 hexadecimal digits (SHA-1) or 64 (SHA-256).
pub(crate) fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Percent-encodes everything but unreserved characters and those in `keep`.
pub(crate) fn percent_encode(text: &str, keep: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(c) || (byte.is_ascii() && keep.contains(c)) {
            out.push(c);
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    out
}

/// Decodes `%XX`; a malformed escape stays as it is. `None` if the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn repositories() {
        for good in ["BAAI/bge-small-en-v1.5", "a/b", "nomic-ai/nomic-embed-text-v1.5-GGUF", "x_1/y.z"] {
            assert_eq!(check_repo(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.git", "a/b\\c", "a/b c", "a/b\0", "a--b/c", "ä/b"]
        {
            assert!(check_repo(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files() {
        for good in ["model.gguf", "1_Pooling/config.json", "gguf/x-f16.gguf", "with space.gguf", "refs/pr/3"] {
            assert_eq!(check_relative(good), Ok(()), "{good}");
        }
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a\\b", "C:x", "a\0b", "a\nb", "a/b.", "a/", "nul "]
        {
            assert!(check_relative(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn percent_coding() {
        assert_eq!(percent_encode("refs/pr/3", ""), "refs%2Fpr%2F3");
        assert_eq!(percent_encode("a b/ü.gguf", "/"), "a%20b/%C3%BC.gguf");
        assert_eq!(percent_decode("refs%2Fpr%2f3").as_deref(), Some("refs/pr/3"));
        assert_eq!(percent_decode("100%").as_deref(), Some("100%"));
        assert_eq!(percent_decode("%é").as_deref(), Some("%é"));
        assert_eq!(percent_decode("%FF"), None);
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_below_its_root(path in "[a-z./\\\\: \\x00é]{0,24}") {
            if check_relative(&path).is_ok() {
                prop_assert!(Path::new(&path).components().all(|c| matches!(c, Component::Normal(_))));
            }
        }

        #[test]
        fn decoding_undoes_encoding(text in "\\PC{0,40}") {
            prop_assert_eq!(percent_decode(&percent_encode(&text, "/")), Some(text));
        }
    }
}
