//! A cache of compiled grammars.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustc_hash::FxHashMap;

use crate::compile::{Compiled, compile};
use crate::error::GrammarError;
use crate::grammar::Grammar;
use crate::limits::{MAX_GRAMMAR_BYTES, check};
use crate::vocabulary::Vocabulary;

/// Maximum compiled grammars kept. Their lexers take some MB in all, and GB if clients provoke it.
const MAX_GRAMMARS: usize = 64;
/// Maximum bytes of the texts of all grammars kept.
const MAX_BYTES: usize = 8 << 20;

type Outcome = Result<Arc<Compiled>, GrammarError>;

/// Compiles grammars, and keeps the most recently used.
///
/// Concurrent requests with the same grammar wait for one compilation. Refusals are kept as well.
#[derive(Debug)]
pub struct GrammarCache {
    vocabulary: Arc<Vocabulary>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: FxHashMap<Arc<str>, Entry>,
    num_bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    outcome: Arc<OnceLock<Outcome>>,
    last_used: u64,
}

impl GrammarCache {
    /// Creates an empty cache for this vocabulary.
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, kept: Mutex::default() }
    }

    /// Returns the vocabulary that the masks are for.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// Returns the number of grammars that are kept, refused ones among them.
    pub fn len(&self) -> usize {
        self.kept().entries.len()
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compiles a grammar, or finds it. A new one takes milliseconds, too long for an asynchronous
    /// task.
    ///
    /// # Errors
    /// The grammar cannot be enforced, is not valid, or is too large.
    pub fn compile(&self, grammar: &Grammar) -> Result<Arc<Compiled>, GrammarError> {
        check("the length of the grammar in bytes", grammar.num_bytes(MAX_GRAMMAR_BYTES), MAX_GRAMMAR_BYTES)?;
        // The order of keys counts, which equality of JSON values ignores, so the key is the text.
        let key: Arc<str> = format!("{grammar:?}").into();
        let outcome = self.kept().entry(&key);
        outcome.get_or_init(|| compile(grammar, &self.vocabulary).map(Arc::new)).clone()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic of another thread between two lines here would leave the sum of bytes wrong at
        // worst.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns the place of a grammar, made where there is none or where its lexer has reached its
    /// limits.
    fn entry(&mut self, key: &Arc<str>) -> Arc<OnceLock<Outcome>> {
        self.clock += 1;
        let clock = self.clock;
        if let Some(entry) = self.entries.get_mut(key) {
            if entry
                .outcome
                .get()
                .is_some_and(|outcome| outcome.as_ref().is_ok_and(|compiled| compiled.is_spent()))
            {
                entry.outcome = Arc::default();
            }
            entry.last_used = clock;
            return Arc::clone(&entry.outcome);
        }
        let outcome = Arc::<OnceLock<Outcome>>::default();
        self.entries.insert(Arc::clone(key), Entry { outcome: Arc::clone(&outcome), last_used: clock });
        self.num_bytes += key.len();
        while self.entries.len() > MAX_GRAMMARS || (self.num_bytes > MAX_BYTES && self.entries.len() > 1) {
            self.evict();
        }
        outcome
    }

    /// Evicts the least recently used grammar.
    fn evict(&mut self) {
        let oldest =
            self.entries.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| Arc::clone(key));
        if let Some(key) = oldest {
            self.num_bytes -= key.len();
            self.entries.remove(&key);
        }
    }
}
