//! The prompt of rerankers that are language models: a question with the query and the document in it.

use docent_models::{Description, RerankTemplate};

/// The prompt that Qwen3's rerankers were trained with (their model cards), with the instruction of the card.
const QWEN3: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct \
provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, \
retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// The instruction that they are used with unless there is a better one.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// Where an instruction goes.
const SLOT: &str = "{instruction}";

/// A prompt, without an instruction of the caller's and with one.
#[derive(Clone, Debug)]
pub(crate) struct RerankPrompt {
    /// With the model's own instruction, if it has one.
    plain: String,
    /// With a slot for another, if there is a place for one.
    instructed: Option<String>,
    /// The model's own.
    instruction: Option<String>,
}

/// The parts of a prompt with its instruction in place: only `before`, `between` and `after` are read with the special tokens that they spell.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) before: String,
    to_query: String,
    from_query: &'a str,
    /// What stands between the query and the document, if there are special tokens in it.
    pub(crate) between: &'a str,
    /// The text between that and the document.
    pub(crate) to_document: &'a str,
    pub(crate) end: &'a str,
    pub(crate) after: &'a str,
}

impl RerankPrompt {
    /// The model's own prompt, or else Qwen3's if it is a Qwen3; `None` if the files of another have none.
    pub(crate) fn of(description: &Description) -> Option<Self> {
        match &description.rerank_template {
            Some(RerankTemplate { text, instructed }) => Some(Self::new(text.clone(), instructed.clone())),
            None => (description.architecture == "qwen3").then(|| Self::new(QWEN3.to_owned(), None)),
        }
    }

    fn new(plain: String, instructed: Option<String>) -> Self {
        // Files have the usual instruction written out; a slot in its place takes any.
        let usual = || plain.contains(INSTRUCTION).then(|| plain.replacen(INSTRUCTION, SLOT, 1));
        let instructed = instructed.or_else(usual);
        let around = instructed.as_deref().and_then(|instructed| instructed.split_once(SLOT));
        let own = around.and_then(|(before, after)| plain.strip_prefix(before)?.strip_suffix(after));
        let instruction = own.filter(|own| !own.is_empty()).map(str::to_owned);
        RerankPrompt { plain, instructed, instruction }
    }

    /// The instruction in it, if it has one.
    pub(crate) fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// The parts of the prompt with the given instruction, or its own; `None` if one is given and there is no place for it.
    pub(crate) fn parts(&self, given: Option<&str>) -> Option<Parts<'_>> {
        let template = match given {
            Some(_) => self.instructed.as_deref()?,
            None => &self.plain,
        };
        let (head, tail) = template.split_once("{query}").unwrap_or((template, ""));
        let (middle, tail) = tail.split_once("{document}").unwrap_or((tail, ""));
        let (before, to_query) = head.split_at(end_of_specials(head));
        let (from_query, between) = middle.split_at(start_of_specials(middle));
        let (between, to_document) = between.split_at(end_of_specials(between));
        let (end, after) = tail.split_at(start_of_specials(tail));
        let filled = |text: &str| text.replacen(SLOT, given.unwrap_or_default(), 1);
        let (before, to_query) = (filled(before), filled(to_query));
        Some(Parts { before, to_query, from_query, between, to_document, end, after })
    }
}

/// Where the first special token of a text starts.
fn start_of_specials(text: &str) -> usize {
    text.find("<|").unwrap_or(text.len())
}

/// Where the text after the last special token starts. Up to the end of its line it is the template's own, and read with it.
fn end_of_specials(text: &str) -> usize {
    let Some(last) = text.rfind("|>").map(|place| place + 2) else { return 0 };
    text[last..].find('\n').map_or(last, |place| last + place + 1)
}

impl Parts<'_> {
    /// The query with the text around it.
    pub(crate) fn query(&self, query: &str) -> String {
        format!("{}{query}{}", self.to_query, self.from_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3() -> RerankPrompt {
        RerankPrompt::new(QWEN3.to_owned(), None)
    }

    #[test]
    fn a_prompt_comes_apart_where_its_special_tokens_end() {
        let prompt = qwen3();
        assert_eq!(prompt.instruction(), Some(INSTRUCTION));
        let parts = prompt.parts(Some("Find {query} code")).unwrap();
        assert!(parts.before.ends_with("<|im_start|>user\n"), "{}", parts.before);
        assert_eq!(parts.query("q"), "<Instruct>: Find {query} code\n<Query>: q\n<Document>: ");
        assert_eq!((parts.between, parts.to_document, parts.end), ("", "", ""));
        assert_eq!(parts.after, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
        let query = prompt.parts(None).unwrap().query("q");
        assert_eq!(query, format!("<Instruct>: {INSTRUCTION}\n<Query>: q\n<Document>: "));
    }

    #[test]
    fn special_tokens_between_query_and_document_are_parts_of_their_own() {
        let text = "<|im_start|>system\n{query} ?<|im_end|>\n<|im_start|>user\nD: {document} .<|im_end|>\n";
        let prompt = RerankPrompt::new(text.to_owned(), None);
        let parts = prompt.parts(None).unwrap();
        assert_eq!((parts.before.as_str(), parts.query("a").as_str()), ("<|im_start|>system\n", "a ?"));
        assert_eq!((parts.between, parts.to_document), ("<|im_end|>\n<|im_start|>user\n", "D: "));
        assert_eq!((parts.end, parts.after), (" .", "<|im_end|>\n"));
    }

    #[test]
    fn a_prompt_without_a_place_takes_no_instruction() {
        let prompt = RerankPrompt::new("q: {query} d: {document} ?".to_owned(), None);
        assert!(prompt.parts(Some("i")).is_none() && prompt.instruction().is_none());
        let parts = prompt.parts(None).unwrap();
        assert_eq!((parts.before.as_str(), parts.query("a").as_str()), ("", "q: a d: "));
        assert_eq!((parts.end, parts.after), (" ?", ""));
    }

    #[test]
    fn a_place_for_an_instruction_may_be_empty_or_have_another() {
        let (plain, instructed) =
            ("{query}\n{document}".to_owned(), "i: {instruction}\n{query}\n{document}".to_owned());
        let prompt = RerankPrompt::new(plain, Some(instructed));
        assert_eq!(prompt.instruction(), None);
        assert_eq!(prompt.parts(None).unwrap().query("q"), "q\n");
        assert_eq!(prompt.parts(Some("x")).unwrap().query("q"), "i: x\nq\n");
        let (plain, instructed) =
            ("i: own {query} {document}".to_owned(), "i: {instruction} {query} {document}".to_owned());
        assert_eq!(RerankPrompt::new(plain, Some(instructed)).instruction(), Some("own"));
    }
}
