//! The texts that are measured: those of a file, or our own.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// What is embedded.
#[derive(Debug, Deserialize)]
pub(super) struct Texts {
    pub(super) short: String,
    pub(super) medium: String,
    pub(super) long: String,
    /// Many texts of the kind that an index is built of.
    pub(super) corpus: Vec<String>,
}

/// The largest file of texts that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A question, 48 characters.
const SHORT: &str = "Which of the two bridges was rebuilt after 1950?";

/// A passage, 237 characters.
const MEDIUM: &str = "The library opens at ten and closes when the last reader has gone home. Books that come back late are put on a \
    separate low shelf, where nobody counts the days too strictly, and a note is left for whoever borrowed them to \
    find next time.";

/// A page, 1233 characters.
const LONG: &str = "A small town on the river decided to write down how its water reaches the houses. The engineers began at the \
    spring in the hills, where a stone basin collects rain that has been filtered by twenty metres of gravel. From \
    there an iron pipe, laid more than a century ago, follows the old road down to the pumping station. Two pumps \
    share the work: one runs by day, the other by night, and either can take over within a minute if its partner \
    fails. Pressure is measured at nine points along the way and sent to a screen in the town hall, where one clerk \
    watches for sudden changes. Most alarms turn out to be harmless, such as a fire crew that tests a hydrant \
    without telling anybody. Once a drop at point seven led to the discovery of a leak that had been feeding a \
    private pond for years. The owner had believed in a natural source. After the repair the town used a tenth less \
    water, and the savings paid for new valves in the lower quarter. The report ends with a list of what should be \
    replaced next, ordered by age, cost and the number of families who would notice a failure. It is meant for \
    readers without training, so every technical word is explained where it first appears, and the drawings can be \
    understood without the text.";

/// What the paragraphs of the built-in corpus are put together from.
const SENTENCES: [&str; 40] = [
    "The harbour freezes for three weeks in a mild winter and for nine in a hard one.",
    "A contract that nobody has signed is still worth reading twice.",
    "Bees find their way home by the sun, and on grey days by the pattern of its light.",
    "The parser reads one line at a time and never looks back further than the last comma.",
    "Her grandmother kept the recipe in a tin, under the buttons and two foreign coins.",
    "Copper conducts better than aluminium, but aluminium is lighter and costs a third as much.",
    "If the disk is full, the log is cut first, then the cache, and the index only when nothing else is left.",
    "The third movement is marked to be played slowly, which few orchestras do.",
    "Vaccination began in April, and by June the number of new cases had fallen by half.",
    "Invoices are due within thirty days unless the order says otherwise.",
    "A glacier moves even when it shrinks; the ice at its end is older than the villages below.",
    "The committee met in private and published its minutes a year later.",
    "Salt lowers the freezing point of water, so roads are treated before the frost and not after it.",
    "To restore the backup, stop the service, copy the folder and start the service again.",
    "Two of the paintings were sold as genuine until the canvas was dated.",
    "The train to the coast leaves from platform four, except on Sundays.",
    "Every request carries an identifier, and the same identifier appears in each line of the log that it causes.",
    "Wolves were seen north of the river for the first time in eighty years.",
    "The tax applies to profits, not to turnover, and small companies are exempt.",
    "Concrete reaches most of its strength after four weeks but goes on hardening for decades.",
    "He learned the language from a radio that received only one station.",
    "The method works for sparse matrices; dense ones are better left to the library.",
    "Rice is planted when the first rains have softened the fields.",
    "The court found that the warning on the label had been too small to be read.",
    "Night shifts are paid at one and a half times the usual rate.",
    "An old oak can support several hundred kinds of insects.",
    "The sensor reports every ten seconds, and the receiver drops a value that arrives out of order.",
    "Nobody remembers who built the wall, but everybody agrees on which side of it they live.",
    "Rents rose faster than wages for the seventh year in a row.",
    "The lens was ground by hand and tested against the light of a single star.",
    "Before you replace the battery, write down the settings, because they are lost without power.",
    "The treaty was written in two languages, and the two versions differ in one word.",
    "A good index is built once and read ten thousand times.",
    "Children under six travel free when an adult is with them.",
    "The bridge sways in the wind by design, and a damper under the deck keeps it within a hand's breadth.",
    "Coffee from the upper slopes ripens later and is picked by hand.",
    "Errors in the first column are copied into the total, so check it before you sign.",
    "The museum lends its drawings for three months at most, as light fades them.",
    "Sound travels four times faster in water than in air.",
    "The new timetable was tested for a week with empty buses.",
];

/// Paragraphs of the built-in corpus.
const PARAGRAPHS: usize = 192;

impl Texts {
    /// The texts of this program: prose of one to eight sentences a paragraph, the same in every run.
    pub(super) fn built_in() -> Self {
        let mut random = Random(7);
        let mut paragraph = || {
            let sentences = 1 + random.below(8);
            (0..sentences).map(|_| SENTENCES[random.below(SENTENCES.len())]).collect::<Vec<_>>().join(" ")
        };
        let corpus = (0..PARAGRAPHS).map(|_| paragraph()).collect();
        Texts { short: SHORT.to_owned(), medium: MEDIUM.to_owned(), long: LONG.to_owned(), corpus }
    }

    /// The texts of a JSON file with the keys `short`, `medium`, `long` (each a text) and `corpus` (a list of texts).
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::metadata(path).and_then(|file| match file.len() {
            length if length > MAX_FILE_BYTES => {
                Err(std::io::Error::other(format!("expected at most {MAX_FILE_BYTES} bytes of JSON, found {length}")))
            }
            _ => std::fs::read(path),
        });
        let bytes = bytes.with_context(|| format!("{}: cannot read the texts", path.display()))?;
        let texts: Texts = serde_json::from_slice(&bytes).with_context(|| {
            format!("{}: expected a JSON object with short, medium, long and corpus", path.display())
        })?;
        if texts.corpus.is_empty() {
            bail!("{}: corpus: expected at least one text, found none", path.display());
        }
        Ok(texts)
    }
}

/// A generator of Lehmer's kind: all that a reproducible choice needs.
struct Random(u64);

impl Random {
    /// A number below `limit`, which is small and not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        (self.0 % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_texts_have_the_lengths_that_results_are_compared_at() {
        let texts = Texts::built_in();
        let lengths = [&texts.short, &texts.medium, &texts.long].map(|text| text.chars().count());
        assert_eq!(lengths, [48, 237, 1233]);
        assert_eq!(texts.corpus.len(), 192);
        let distinct: std::collections::BTreeSet<&String> = texts.corpus.iter().collect();
        assert!(distinct.len() > 150, "{}", distinct.len());
        let mean = texts.corpus.iter().map(String::len).sum::<usize>() / texts.corpus.len();
        assert!((250..450).contains(&mean), "{mean}");
        assert_eq!(texts.corpus, Texts::built_in().corpus);
    }
}
