//! Masks over a vocabulary for constrained answers: schemas, regular expressions and tool calls.
//!
//! A [`Vocabulary`] is built once for a model. A [`Grammar`] comes with a request; the
//! [`GrammarCache`] compiles it, or refuses it by name: what cannot be enforced exactly is an error
//! before anything runs. Each sequence has a [`Matcher`], which writes the mask of the next token
//! and follows the tokens that were drawn.
//!
//! ```
//! use std::sync::Arc;
//! use streamcore_grammar::{Grammar, GrammarCache, Token, Vocabulary};
//!
//! let bytes: Vec<u8> = (0..=0xFE).collect();
//! let tokens = bytes.chunks(1).map(Token::Text).chain([Token::Special("<end>")]);
//! let cache = GrammarCache::new(Arc::new(Vocabulary::new(tokens, &[255], 256)?));
//!
//! let compiled = cache.compile(&Grammar::json_schema(serde_json::json!({"type": "boolean"})))?;
//! let mut matcher = compiled.matcher();
//! let mut mask = vec![0; cache.vocabulary().num_mask_words()];
//! matcher.mask(&mut mask)?;
//! assert_eq!(mask.iter().map(|word| word.count_ones()).sum::<u32>(), 2); // `t` or `f`
//! matcher.accept(u32::from(b't'))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The engine behind it is [llguidance](https://docs.rs/llguidance). Where it enforces a keyword
//! only roughly, or not at all, this crate rewrites the schema into one that is exact (`schema/`),
//! or refuses it. `docs/structured-output.md` lists what is enforced.
#![forbid(unsafe_code)]

mod cache;
mod calls;
mod compile;
mod error;
mod grammar;
mod lark;
mod lark_guard;
mod limits;
mod matcher;
mod pattern;
mod schema;
mod structural_tag;
mod vocabulary;

pub use cache::GrammarCache;
pub use calls::{Call, Calls};
pub use compile::Compiled;
pub use error::{GrammarError, MatchError, VocabularyError};
pub use grammar::{Grammar, Node, Piece, Tag, Whitespace};
pub use matcher::Matcher;
pub use vocabulary::{Token, Vocabulary};
