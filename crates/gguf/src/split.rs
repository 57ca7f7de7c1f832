//! Models split over several files.
//!
//! The files are named `PREFIX-00001-of-00003.gguf` and so on. Each is a GGUF file of its own that says which part it is
//! (`split.no`, from 0) of how many (`split.count`); the first one has the model's metadata and the number of tensors of
//! the whole set (`split.tensors.count`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cursor::{Parsed, fail};
use crate::error::{Error, Place, Problem};
use crate::reader::Shard;
use crate::value::Value;

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// What a file says about the set that it belongs to.
pub(crate) struct Split {
    /// From 0.
    pub(crate) no: u32,
    /// At least 2.
    pub(crate) count: u32,
}

impl Split {
    pub(crate) fn place(&self, shard: &Shard) -> Place {
        shard.header.place_of(shard.data.bytes(), COUNT)
    }
}

/// What `shard` says about its set; `None` for a model in one file.
pub(crate) fn read(shard: &Shard) -> Parsed<Option<Split>> {
    if shard.metadata().get(COUNT).is_none() {
        return Ok(None);
    }
    // The count is a u16 in the format: there are at most 65535 files.
    let count = number(shard, COUNT, u16::MAX.into())? as u32;
    if count <= 1 {
        return Ok(None);
    }
    let no = number(shard, NO, u64::from(count) - 1)? as u32;
    Ok(Some(Split { no, count }))
}

/// A required number of a split key, from 0 to `most`.
fn number(shard: &Shard, key: &str, most: u64) -> Parsed<u64> {
    let value = shard.metadata().get(key);
    let integer = value.as_ref().and_then(Value::integer).and_then(|integer| u64::try_from(integer).ok());
    match integer {
        Some(integer) if integer <= most => Ok(integer),
        _ => {
            let expected =
                if most > u64::from(u16::MAX) { "a count".to_owned() } else { format!("a number from 0 to {most}") };
            let found = match value {
                None => "no such key".to_owned(),
                Some(value) if value.integer().is_some() => value.to_string(),
                Some(value) => value.describe(),
            };
            wrong_key(shard, key, expected, found)
        }
    }
}

fn wrong_key<T>(shard: &Shard, key: &str, expected: String, found: String) -> Parsed<T> {
    let place = shard.header.place_of(shard.data.bytes(), key);
    fail(&shard.file, place, Problem::SplitKey { expected, found })
}

/// All files of the model of which `first` is the file at `path`, in order.
pub(crate) fn complete(path: &Path, first: Shard) -> Result<Vec<Shard>, Error> {
    let Some(split) = read(&first)? else { return Ok(vec![first]) };
    let count = split.count;
    let named = Named::parse(path).filter(|named| named.count == count && named.number == split.no + 1);
    let Some(named) = named else {
        return Ok(fail(&first.file, Place::File, Problem::SplitName { number: split.no + 1, count })?);
    };
    if split.no != 0 {
        let problem = Problem::SplitNotFirst { number: named.number, first: named.sibling(1).display().to_string() };
        return Ok(fail(&first.file, Place::File, problem)?);
    }
    let expected = number(&first, TENSORS, u64::MAX)?;

    let mut shards = vec![first];
    for number in 2..=count {
        let shard = open_sibling(&named, number)?;
        match read(&shard)? {
            Some(found) if found.no == number - 1 && found.count == count => shards.push(shard),
            found => {
                let (key, expected, found) = match found {
                    Some(found) if found.count != count => (COUNT, count, found.count.to_string()),
                    Some(found) => (NO, number - 1, found.no.to_string()),
                    None => (COUNT, count, "a file that is not split".to_owned()),
                };
                wrong_key(&shard, key, expected.to_string(), found)?;
            }
        }
    }
    let found = shards.iter().map(|shard| shard.header.tensors.len() as u64).sum();
    if found != expected {
        let place = shards[0].header.place_of(shards[0].data.bytes(), TENSORS);
        fail(&shards[0].file, place, Problem::SplitTensorCount { expected, found, count })?;
    }
    Ok(shards)
}

fn open_sibling(named: &Named<'_>, number: u32) -> Result<Shard, Error> {
    let path = named.sibling(number);
    match Shard::map(&path) {
        Err(Error::Io { source, .. }) => {
            let problem = Problem::SplitMissing { number, count: named.count, reason: source.to_string() };
            Ok(fail(&path.display().to_string(), Place::File, problem)?)
        }
        other => other,
    }
}

/// A path that ends in `-00001-of-00003.gguf`, taken apart.
struct Named<'a> {
    path: &'a Path,
    /// The name up to the first dash of the ending.
    prefix: &'a str,
    number: u32,
    count: u32,
}

impl<'a> Named<'a> {
    fn parse(path: &'a Path) -> Option<Self> {
        let rest = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let five = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            five.then(|| text.parse().ok()).flatten()
        };
        Some(Self { path, prefix, number: digits(number)?, count: digits(count)? })
    }

    /// The path of another file of the set.
    fn sibling(&self, number: u32) -> PathBuf {
        let name = OsString::from(format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count));
        self.path.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_split_files() {
        let path = Path::new("models/big-model-00002-of-00010.gguf");
        let named = Named::parse(path).unwrap();
        assert_eq!((named.prefix, named.number, named.count), ("big-model", 2, 10));
        assert_eq!(named.sibling(1), Path::new("models/big-model-00001-of-00010.gguf"));
        for other in ["a.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin", "a-00001-00002.gguf", "a-+0001-of-00002.gguf"]
        {
            assert!(Named::parse(Path::new(other)).is_none(), "{other}");
        }
    }
}
