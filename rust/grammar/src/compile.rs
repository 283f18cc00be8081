//! Compiles a grammar into the state at the start of a sequence.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crate::error::GrammarError;
use crate::grammar::Grammar;
use crate::lark;
use crate::limits::COMPILE_STACK_BYTES;
use crate::matcher::{Matcher, first_line};
use crate::vocabulary::Vocabulary;

/// A grammar that is ready for sequences.
#[derive(Debug)]
pub struct Compiled {
    /// Never advanced: sequences begin as clones of it, and find its mask computed.
    start: Matcher,
}

impl Compiled {
    /// Returns the state at the start of an answer.
    pub fn matcher(&self) -> Matcher {
        self.start.clone()
    }

    /// Returns whether the grammar should be compiled anew for the sequences to come.
    pub(crate) fn is_spent(&self) -> bool {
        self.start.is_spent()
    }
}

/// Compiles a grammar on its own thread, whose stack suffices for the maximum nesting.
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
    let source = lark::write(&grammar.0, vocabulary)?;
    // llguidance panics if its assumptions fail.
    let parser = std::panic::catch_unwind(AssertUnwindSafe(|| vocabulary.factory().create_parser(source)));
    let parser = parser.map_err(|_| GrammarError::Compile("the compiler failed".to_owned()))?;
    let parser = parser.map_err(|error| refused(&error))?;
    let mut start = llguidance::Matcher::new(Ok(parser));
    if let Some(warning) = start.grammar_warnings().into_iter().find(|warning| !warning.is_empty()) {
        return Err(GrammarError::Compile(first_line(&warning)));
    }
    let mut start = Matcher::new(start, Arc::clone(vocabulary));
    // A grammar without a first token, or with too costly a mask, is refused before the answer.
    let mut mask = vec![0; vocabulary.num_mask_words()];
    start.mask(&mut mask).map_err(|error| GrammarError::Compile(error.to_string()))?;
    Ok(Compiled { start })
}

fn refused(error: &anyhow::Error) -> GrammarError {
    let message = first_line(&error.to_string());
    GrammarError::Compile(match message.strip_prefix("Unsatisfiable schema: ") {
        Some(reason) if reason.starts_with("Regex is empty") => {
            "no value is valid: a pattern matches no string".to_owned()
        }
        Some(reason) => format!("no value is valid: {reason}"),
        None => message,
    })
}
