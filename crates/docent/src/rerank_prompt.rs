//! The prompt of rerankers that are language models: a question with the query and the document in it.

use docent_models::Description;

/// The prompt that Qwen3's rerankers were trained with (their model cards), a slot for each of its three texts.
const QWEN3: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct \
provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction}\n\
<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// The instruction that they are used with unless there is a better one.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// A template, and the instruction to stand in it.
#[derive(Clone, Debug)]
pub(crate) struct RerankPrompt {
    template: String,
    instruction: Option<String>,
}

/// The parts of a prompt with its instruction in place: only the outer two are read with the special tokens that they spell.
pub(crate) struct Parts<'a> {
    pub(crate) before: String,
    to_query: String,
    to_document: &'a str,
    pub(crate) end: &'a str,
    pub(crate) after: &'a str,
}

impl RerankPrompt {
    /// The model's own template, or else that of Qwen3.
    pub(crate) fn of(description: &Description) -> Self {
        let own = description.rerank_template.as_deref().filter(|template| {
            let (query, document) = (template.find("{query}"), template.find("{document}"));
            matches!((query, document), (Some(query), Some(document)) if query < document)
        });
        // Files carry the default instruction written out; a slot in its place takes any.
        let template = own.unwrap_or(QWEN3).replacen(INSTRUCTION, "{instruction}", 1);
        let instruction = template.contains("{instruction}").then(|| INSTRUCTION.to_owned());
        RerankPrompt { template, instruction }
    }

    /// The instruction in it, if it has a place for one.
    pub(crate) fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// The parts of the prompt with the given instruction, or its own; `None` if one is given and there is no place for it.
    pub(crate) fn parts(&self, given: Option<&str>) -> Option<Parts<'_>> {
        let instruction = match (given, &self.instruction) {
            (Some(_), None) => return None,
            (Some(given), Some(_)) => given,
            (None, own) => own.as_deref().unwrap_or_default(),
        };
        let (head, tail) = self.template.split_once("{query}").unwrap_or((&self.template, ""));
        let (to_document, tail) = tail.split_once("{document}").unwrap_or((tail, ""));
        // What follows the last special token is text of the template up to the end of its line, and belongs to it.
        let last = head.rfind("|>").map_or(0, |place| place + 2);
        let start = head[last..].find('\n').map_or(last, |place| last + place + 1);
        let (before, to_query) = head.split_at(start);
        let (end, after) = tail.split_at(tail.find("<|").unwrap_or(tail.len()));
        let filled = |text: &str| text.replacen("{instruction}", instruction, 1);
        Some(Parts { before: filled(before), to_query: filled(to_query), to_document, end, after })
    }
}

impl Parts<'_> {
    /// The text in front of the document, with the query in place.
    pub(crate) fn start(&self, query: &str) -> String {
        format!("{}{query}{}", self.to_query, self.to_document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3() -> RerankPrompt {
        RerankPrompt { template: QWEN3.to_owned(), instruction: Some(INSTRUCTION.to_owned()) }
    }

    #[test]
    fn a_prompt_comes_apart_where_its_special_tokens_end() {
        let prompt = qwen3();
        let parts = prompt.parts(Some("Find {query} code")).unwrap();
        assert!(parts.before.ends_with("<|im_start|>user\n"), "{}", parts.before);
        assert_eq!(parts.start("q"), "<Instruct>: Find {query} code\n<Query>: q\n<Document>: ");
        assert_eq!(parts.end, "");
        assert_eq!(parts.after, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
        let start = prompt.parts(None).unwrap().start("q");
        assert_eq!(start, format!("<Instruct>: {INSTRUCTION}\n<Query>: q\n<Document>: "));
    }

    #[test]
    fn a_template_without_a_slot_takes_no_instruction() {
        let prompt = RerankPrompt { template: "q: {query} d: {document} ?".to_owned(), instruction: None };
        assert!(prompt.parts(Some("i")).is_none());
        let parts = prompt.parts(None).unwrap();
        assert_eq!((parts.before.as_str(), parts.start("a").as_str()), ("", "q: a d: "));
        assert_eq!((parts.end, parts.after), (" ?", ""));
    }
}
