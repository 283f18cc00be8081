//! From a grammar to what a sequence begins with.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llguidance::api::TopLevelGrammar;

use crate::error::GrammarError;
use crate::grammar::Grammar;
use crate::lark;
use crate::lark_guard::check_lark;
use crate::limits::COMPILE_STACK_BYTES;
use crate::matcher::{Matcher, first_line};
use crate::vocabulary::Vocabulary;

/// A grammar that is ready for sequences.
pub struct Compiled {
    /// Never advanced: sequences begin as clones of it.
    start: llguidance::Matcher,
    vocabulary: Arc<Vocabulary>,
    spent: Arc<AtomicBool>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("spent", &self.is_spent()).finish_non_exhaustive()
    }
}

impl Compiled {
    /// The state at the start of an answer.
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.start.clone(), Arc::clone(&self.vocabulary), Arc::clone(&self.spent))
    }

    /// Whether a sequence failed, after which the shared lexer may be at its limits.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

/// Compiles a grammar on a thread of its own, whose stack holds what is nested as deep as the limits allow.
pub(crate) fn compile(grammar: &Grammar, vocabulary: &Arc<Vocabulary>) -> Result<Compiled, GrammarError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(COMPILE_STACK_BYTES);
        let compiling = thread
            .spawn_scoped(scope, || compile_here(grammar, vocabulary))
            .map_err(|error| GrammarError::Compile(format!("no thread can be started: {error}")))?;
        compiling.join().unwrap_or_else(|_| Err(GrammarError::Compile("the compiler failed".to_owned())))
    })
}

fn compile_here(grammar: &Grammar, vocabulary: &Arc<Vocabulary>) -> Result<Compiled, GrammarError> {
    let source = match grammar {
        Grammar::Node(node) => lark::write(node, vocabulary)?,
        Grammar::Lark(source) => {
            check_lark(source)?;
            TopLevelGrammar::from_lark(source.clone())
        }
    };
    // llguidance asserts what it takes for granted.
    let parser = std::panic::catch_unwind(AssertUnwindSafe(|| vocabulary.factory().create_parser(source)));
    let parser = parser.map_err(|_| GrammarError::Compile("the compiler failed".to_owned()))?;
    let parser = parser.map_err(|error| refused(&error))?;
    let mut start = llguidance::Matcher::new(Ok(parser));
    let warnings = start.grammar_warnings();
    if let Some(warning) = warnings.into_iter().find(|warning| !warning.is_empty()) {
        return Err(GrammarError::Compile(first_line(&warning)));
    }
    let compiled = Compiled { start, vocabulary: Arc::clone(vocabulary), spent: Arc::default() };
    // What has no first token, or one that costs too much, is refused before the answer begins.
    let mut mask = vec![0; vocabulary.num_mask_words()];
    compiled.matcher().mask(&mut mask).map_err(|error| GrammarError::Compile(error.to_string()))?;
    Ok(compiled)
}

fn refused(error: &anyhow::Error) -> GrammarError {
    let message = first_line(&error.to_string());
    GrammarError::Compile(match message.strip_prefix("Unsatisfiable schema: ") {
        Some(reason) => format!("no value is valid: {reason}"),
        None => message,
    })
}
