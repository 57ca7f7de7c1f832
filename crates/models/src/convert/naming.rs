//! What a model's name says about it: organisation, base name, fine-tune, version, size.
//!
//! GGUF files carry these as separate keys, and llama.cpp's converter takes them from the repository name by the rules
//! below. The file naming convention they belong to is part of the GGUF specification.

/// The components of a repository name such as `acme/Falcon-Bert-7B-chat-v1.5`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    /// Everything after the organisation.
    pub(super) full: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) basename: Option<String>,
    pub(super) finetune: Option<String>,
    pub(super) version: Option<String>,
    pub(super) size_label: Option<String>,
}

/// What a dash-separated part of the name was recognised as. A part may be two things at once while the rules run.
#[derive(Default)]
struct Part {
    text: String,
    basename: bool,
    size: bool,
    finetune: bool,
    version: bool,
    kind: bool,
}

impl Part {
    fn marks(&self) -> usize {
        [self.basename, self.size, self.finetune, self.version, self.kind].into_iter().filter(|&m| m).count()
    }
}

impl Name {
    /// Splits `id`. `parameters` is the size of the model, against which a size in the name is held: a part like `8k` that
    /// is nowhere near it is a context length, hence part of the fine-tune.
    pub(super) fn parse(id: &str, parameters: u64) -> Self {
        if id.contains(' ') {
            return Self { full: Some(id.to_owned()), ..Self::default() };
        }
        let (organization, full) = match id.split_once('/') {
            Some((organization, full)) => (Some(organization).filter(|o| !o.starts_with('.')), full),
            None => (None, id),
        };
        let mut parts: Vec<Part> =
            full.split('-').filter(|p| !p.is_empty()).map(|p| Part { text: p.to_owned(), ..Part::default() }).collect();
        for (index, part) in parts.iter_mut().enumerate() {
            annotate(part, index, parameters);
        }
        // A size in words counts only where there is none in figures.
        if parts.iter().any(|p| p.size && p.text.contains(|c: char| c.is_ascii_digit())) {
            for part in parts.iter_mut().filter(|p| p.text.chars().all(char::is_alphabetic)) {
                part.size = false;
            }
        }
        mark_basename(&mut parts);

        let join = |pick: fn(&Part) -> bool| {
            let picked: Vec<&str> = parts.iter().filter(|p| pick(p)).map(|p| p.text.as_str()).collect();
            (!picked.is_empty()).then(|| picked.join("-"))
        };
        let mut sizes: Vec<&str> = Vec::new();
        for part in parts.iter().filter(|p| p.size) {
            if !sizes.contains(&part.text.as_str()) {
                sizes.push(&part.text);
            }
        }
        let size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
        let finetune = join(|p| p.finetune);
        let version = join(|p| p.version && !p.basename);
        // A base name alone says nothing that the name does not.
        let telling = size_label.is_some() || finetune.is_some() || version.is_some();
        let basename = join(|p| p.basename).filter(|_| telling);
        let organization = organization.map(str::to_owned);
        Self { full: Some(full.to_owned()), organization, basename, finetune, version, size_label }
    }
}

/// The base name is the run of unmarked words and versions at the start, less the versions that end it; what remains
/// unmarked behind it is the fine-tune.
fn mark_basename(parts: &mut [Part]) {
    let mut at_start = true;
    for part in parts.iter_mut() {
        let word = part.marks() == 0 && part.text.starts_with(char::is_alphabetic);
        if at_start && (word || part.version) {
            part.basename = true;
        } else {
            at_start = false;
            part.finetune |= part.marks() == 0;
        }
    }
    for part in parts.iter_mut().rev() {
        if !(part.basename && part.marks() > 1) {
            break;
        }
        part.basename = false;
    }
}

fn annotate(part: &mut Part, index: usize, parameters: u64) {
    let lower = part.text.to_ascii_lowercase();
    if is_version(lower.strip_prefix('v').or_else(|| lower.strip_prefix("iter")).unwrap_or(&lower)) {
        part.version = true;
    } else if is_tensor_type(&lower) {
        part.kind = true;
        part.text = part.text.to_ascii_uppercase();
    } else if index > 0 && is_size(&lower) {
        annotate_size(part, parameters);
    } else if index > 0 && matches!(lower.as_str(), "chat" | "instruct" | "vision" | "lora") {
        part.finetune = true;
    }
}

/// Brings a size into its usual spelling and decides whether it is one. `part` holds ASCII only.
fn annotate_size(part: &mut Part, parameters: u64) {
    let mut text: Vec<char> = part.text.replace('_', ".").chars().collect();
    if let [.., unit, digit] = text[..]
        && digit.is_ascii_digit()
    {
        // `7b1` stands for 7.1 billion
        text.truncate(text.len() - 2);
        text.extend(['.', digit, unit]);
    }
    if let [.., before, unit] = &mut text[..]
        && before.is_ascii_digit()
        && "kmbt".contains(*unit)
    {
        *unit = unit.to_ascii_uppercase();
    }
    let mut text: String = text.into_iter().collect();
    let (figures, unit) = text.split_at(text.len() - 1);
    if parameters > 0
        && let Ok(figures) = figures.parse::<f64>()
        && let Some(power) = " KMBT".find(unit)
    {
        let label = figures * 1000f64.powi(power as i32);
        let tolerance = (u128::from(parameters) * 7 / 8) as f64;
        if (label - parameters as f64).abs() > tolerance {
            text = format!("{}{}", &text[..text.len() - 1], unit.to_ascii_lowercase());
            part.finetune = true;
        }
    }
    part.size = !part.finetune;
    part.text = text;
}

/// `1`, `1.5`, `2.0.3`
fn is_version(text: &str) -> bool {
    text.split('.').all(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `q8_0`, `iq4_x_s`, `f16`, `bf16`, `fp32`
fn is_tensor_type(lower: &str) -> bool {
    let float = lower.strip_prefix('b').unwrap_or(lower);
    if float.strip_prefix('f').is_some_and(|f| matches!(f.strip_prefix('p').unwrap_or(f), "16" | "32")) {
        return true;
    }
    let Some(quantised) = lower.strip_prefix('i').unwrap_or(lower).strip_prefix('q') else { return false };
    let mut rest = quantised.chars();
    if !rest.next().is_some_and(|c| c.is_ascii_digit()) {
        return false;
    }
    let rest: Vec<char> = rest.collect();
    rest.chunks(2).all(|pair| matches!(pair, ['_', c] if c.is_alphanumeric() || *c == '_'))
}

/// `7b`, `1.5b`, `8x7b`, `a3b`, `7b1`, `small`, `xxl`
fn is_size(lower: &str) -> bool {
    if matches!(lower, "small" | "mini" | "medium" | "large" | "xl" | "xxl") {
        return true;
    }
    let experts = lower.split_once('x').filter(|(count, _)| is_digits(count)).map(|(_, rest)| rest);
    let figures = experts.or_else(|| lower.strip_prefix('a')).unwrap_or(lower);
    let Some(unit) = figures.find(['k', 'm', 'b', 't']) else { return false };
    let (number, suffix) = (&figures[..unit], &figures[unit + 1..]);
    let (whole, fraction) = number.split_once(['.', '_']).unwrap_or((number, "0"));
    is_digits(whole) && is_digits(fraction) && suffix.len() <= 1 && suffix.bytes().all(|b| b.is_ascii_digit())
}

/// A name as a title: dashes to spaces, lower-case words with a capital; acronyms and version numbers as they are.
pub(super) fn title(name: &str) -> String {
    let spaced = name.replace('-', " ");
    let words: Vec<String> = spaced.split_whitespace().map(title_word).collect();
    words.join(" ")
}

fn title_word(word: &str) -> String {
    let lower = word.contains(char::is_lowercase) && !word.contains(char::is_uppercase);
    let version = word.strip_prefix('v').is_some_and(is_version) || word.starts_with(|c: char| c.is_ascii_digit());
    if !lower || version {
        return word.to_owned();
    }
    // A letter is a capital when the character before it is no letter.
    let mut out = String::with_capacity(word.len());
    let mut inside = false;
    for c in word.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_lowercase();
    }
    out
}

/// The number of parameters, rounded to two figures: `23M`, `7.2B`.
pub(super) fn size_label(parameters: u64) -> String {
    let count = parameters as f64;
    let (scaled, suffix) = match count {
        c if c > 1e12 => (c * 1e-12, 'T'),
        c if c > 1e9 => (c * 1e-9, 'B'),
        c if c > 1e6 => (c * 1e-6, 'M'),
        c => (c * 1e-3, 'K'),
    };
    let figures = match scaled.round_ties_even() as u64 {
        0 => 0,
        whole => whole.to_string().len(),
    };
    format!("{scaled:.0$}{suffix}", 2usize.saturating_sub(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(id: &str, parameters: u64) -> [Option<String>; 5] {
        let n = Name::parse(id, parameters);
        [n.organization, n.basename, n.finetune, n.version, n.size_label]
    }

    fn some(texts: [&str; 5]) -> [Option<String>; 5] {
        texts.map(|t| (!t.is_empty()).then(|| t.to_owned()))
    }

    // Expected values: `Metadata.get_model_id_components` of gguf-py 0.19.
    #[test]
    fn names_of_published_models() {
        for (id, parameters, expected) in [
            ("nreimers/MiniLM-L6-H384-uncased", 22_713_216, ["nreimers", "", "", "", ""]),
            ("BAAI/bge-small-en-v1.5", 33_000_000, ["BAAI", "bge", "en", "v1.5", "small"]),
            ("intfloat/e5-large-v2", 335_000_000, ["intfloat", "e5", "", "v2", "large"]),
            ("thenlper/gte-base", 109_000_000, ["thenlper", "", "", "", ""]),
            ("Qwen/Qwen3-Embedding-0.6B", 596_000_000, ["Qwen", "Qwen3-Embedding", "", "", "0.6B"]),
            ("bigscience/bloom-7b1-petals", 7_069_016_064, ["bigscience", "bloom", "petals", "", "7.1B"]),
            ("a/Phi-3-mini-4k-instruct", 3_821_079_552, ["a", "Phi-3", "4k-instruct", "", "mini"]),
            ("./local-name", 0, ["", "", "", "", ""]),
            ("model-q8_0-v2", 0, ["", "model", "", "v2", ""]),
            ("x/Mixtral-8x7B-v0.1-xxl", 46_000_000_000, ["x", "Mixtral", "xxl", "v0.1", "8x7B"]),
            ("all-MiniLM-L6-v2", 22_713_216, ["", "all-MiniLM-L6", "", "v2", ""]),
            ("a-A3B-iter3-bf16-chat", 3_000_000_000, ["", "a", "chat", "iter3", "A3B"]),
            ("bge-large-zh-v1.5", 326_000_000, ["", "bge", "zh", "v1.5", "large"]),
        ] {
            assert_eq!(parts(id, parameters), some(expected), "{id}");
        }
    }

    #[test]
    fn a_sentence_is_only_a_name() {
        assert_eq!(Name::parse("a name in words", 5), Name { full: Some("a name in words".into()), ..Name::default() });
    }

    #[test]
    fn titles() {
        for (name, expected) in [
            ("MiniLM-L6-H384-uncased", "MiniLM L6 H384 Uncased"),
            ("flickr30k-captions", "Flickr30K Captions"),
            ("ms_marco", "Ms_Marco"),
            ("bge-small-en-v1.5", "Bge Small En v1.5"),
            ("QQP", "QQP"),
            ("4chan-7b", "4chan 7b"),
            ("", ""),
        ] {
            assert_eq!(title(name), expected);
        }
    }

    #[test]
    fn size_labels() {
        for (parameters, expected) in [
            (22_713_216, "23M"),
            (7_241_732_096, "7.2B"),
            (999, "1.0K"),
            (40, "0.04K"),
            (9_950_000, "10M"),
            (999_999, "1000K"),
            (0, "0.00K"),
        ] {
            assert_eq!(size_label(parameters), expected, "{parameters}");
        }
    }
}
