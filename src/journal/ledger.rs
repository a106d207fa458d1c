//! What is to be written, what was tried, and what that means when the answer does not come. Pure.

use std::collections::BTreeMap;

use super::stored::{KEY_WRITER, entry_key, key_allowed};

/// A ConfigMap holds 1 MiB. Named keys stop well before, so that there is always room to say that a target was thawed.
const MOST_KEYS: usize = 700 << 10;
const MOST: usize = 900 << 10;

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An entry's text; its number is given when it is sent.
    Entry(String),
    /// A named key.
    Key(String, String),
}

impl Content {
    fn size(&self) -> usize {
        match self {
            // The key of an entry, with room for more digits.
            Self::Entry(text) => text.len() + 8,
            Self::Key(key, value) => key.len() + value.len(),
        }
    }
}

/// A compare-and-swap: these keys, if the object is still at this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) version: String,
    pub(super) data: BTreeMap<String, String>,
}

/// What the journal turned out to be after a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One of our writes whose answer was lost.
    Ours,
    /// Nothing of ours, but nobody else's either: somebody changed a label.
    Untouched,
    /// Another process wrote.
    TakenOver,
}

/// A write that was sent and whose answer has not come.
struct Tried {
    mark: u64,
    ids: Vec<u64>,
    entries: usize,
    size: usize,
}

pub(super) struct Ledger {
    nonce: String,
    version: String,
    /// The number of the next entry.
    next: usize,
    size: usize,
    queue: Vec<(u64, Content)>,
    last_id: u64,
    /// All built upon `version`, so at most one of them happened.
    tried: Vec<Tried>,
    last_mark: u64,
    written_mark: u64,
}

impl Ledger {
    /// After our own first write (creation or claim), which bears mark 0.
    pub(super) fn new(nonce: String, version: String, (next, size): (usize, usize)) -> Self {
        Self {
            nonce,
            version,
            next,
            size,
            queue: Vec::new(),
            last_id: 0,
            tried: Vec::new(),
            last_mark: 0,
            written_mark: 0,
        }
    }

    /// The writer key's value: who, and which write.
    pub(super) fn mark(nonce: &str, mark: u64) -> String {
        format!("{nonce}/{mark}")
    }

    /// Puts contents into the queue, all or none, and gives the last one's id.
    pub(super) fn push(&mut self, contents: Vec<Content>) -> Result<u64, String> {
        let mut size = self.size + self.queue.iter().map(|(_, c)| c.size()).sum::<usize>();
        for content in &contents {
            size += content.size();
            match content {
                Content::Key(key, _) if !key_allowed(key) => {
                    return Err(format!("\"{key}\" is no key for a journal"));
                }
                Content::Key(key, _) if size > MOST_KEYS => {
                    return Err(format!("the journal is full: no room for \"{key}\" below {} KiB", MOST_KEYS >> 10));
                }
                Content::Entry(_) if size > MOST => {
                    return Err(format!("the journal is full: {} KiB", MOST >> 10));
                }
                _ => {}
            }
        }
        for content in contents {
            self.last_id += 1;
            self.queue.push((self.last_id, content));
        }
        Ok(self.last_id)
    }

    /// The id of the content that was pushed last.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Whether anything up to this id is still to be written.
    pub(super) fn waits_for(&self, id: u64) -> bool {
        self.queue.iter().any(|(waiting, _)| *waiting <= id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next write: everything in the queue. The same as before if nothing came meanwhile.
    pub(super) fn patch(&mut self) -> (u64, Patch) {
        let ids: Vec<u64> = self.queue.iter().map(|(id, _)| *id).collect();
        let mut data = BTreeMap::new();
        let mut entries = 0;
        for (_, content) in &self.queue {
            match content {
                Content::Entry(text) => {
                    data.insert(entry_key(self.next + entries), text.clone());
                    entries += 1;
                }
                Content::Key(key, value) => {
                    data.insert(key.clone(), value.clone());
                }
            }
        }
        let mark = match self.tried.last() {
            Some(last) if last.ids == ids => last.mark,
            _ => {
                self.last_mark += 1;
                let size = self.queue.iter().map(|(_, c)| c.size()).sum();
                self.tried.push(Tried { mark: self.last_mark, ids, entries, size });
                self.last_mark
            }
        };
        data.insert(KEY_WRITER.to_owned(), Self::mark(&self.nonce, mark));
        let version = self.version.clone();
        (mark, Patch { version, data })
    }

    /// A write happened and led to this version.
    pub(super) fn written(&mut self, mark: u64, version: String) {
        let Some(done) = self.tried.drain(..).find(|t| t.mark == mark) else {
            return;
        };
        self.queue.retain(|(id, _)| !done.ids.contains(id));
        self.next += done.entries;
        self.size += done.size;
        self.written_mark = mark;
        self.version = version;
    }

    /// What a conflict means, by the writer's mark that stands in the journal now.
    pub(super) fn conflict(&mut self, writer: &str, version: String) -> Found {
        let mark = writer.strip_prefix(&self.nonce).and_then(|m| m.strip_prefix('/')).and_then(|m| m.parse().ok());
        match mark {
            Some(mark) if self.tried.iter().any(|t| t.mark == mark) => {
                self.written(mark, version);
                Found::Ours
            }
            Some(mark) if mark == self.written_mark => {
                if version != self.version {
                    // A write that is still under way builds upon the old version and cannot happen any more.
                    self.tried.clear();
                    self.version = version;
                }
                Found::Untouched
            }
            _ => Found::TakenOver,
        }
    }
}

#[cfg(test)]
mod tests;
