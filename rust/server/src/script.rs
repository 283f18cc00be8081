//! Scripted answers instead of a model's, for testing clients.
//!
//! Everything but the model is real: HTTP, templates, tokenizer, queue, engine, streams. A rule of
//! the script is chosen when a request is prepared, where its text is at hand; an error status is
//! answered there. Else the [`ScriptedAnswer`] is kept under the request's id, by which the runner
//! finds it when a step samples for the request.
//!
//! ```text
//! file    JSON → what it says, strictly
//! writer  reasoning, text, calls → tokens, checked
//! answer  the tokens, and how they are played
//! cue     request → what rules look at
//! rule    request → answer
//! assigned request id → answer, until its stream is dropped
//! playing which token comes when: no clock, no threads
//! runner  the loop over steps
//! received what was asked
//! ```

pub mod answer;
mod assigned;
pub mod cue;
mod file;
mod playing;
pub mod received;
mod rule;
pub mod runner;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use streamcore_engine::RequestId;

pub use self::answer::ScriptedAnswer;
use self::assigned::Answers;
pub use self::assigned::Assigned;
use self::cue::{Cue, Scene};
pub use self::file::ScriptError;
use self::file::{ScriptFile, parse};
use self::received::RequestLog;
use self::rule::{Reply, Rule};
pub use self::writer::ParserNames;
use self::writer::Writer;
use crate::error::ApiError;
use crate::text::TextModel;

/// A script, ready to be played.
#[derive(Debug)]
pub struct Script {
    served_model_names: Vec<String>,
    rules: Vec<Rule>,
    num_replies: AtomicUsize,
    answers: Answers,
    log: Option<Arc<RequestLog>>,
}

impl Script {
    /// Reads a script. Its `pieces` become tokens of their own, which `text` knows from then on,
    /// and its formats those of `text`, unless `parsers` names others.
    ///
    /// # Errors
    /// [`ScriptError`], with the place in the script.
    pub fn load(json: &str, text: &mut TextModel, parsers: ParserNames<'_>) -> Result<Self, ScriptError> {
        let file = parse(json)?;
        let mut writer = Writer::new(text, parsers, &file)?;
        let ScriptFile { models, rules, .. } = file;
        let compile = |(index, rule)| Rule::new(&format!("rules[{index}]"), rule, &mut writer);
        let rules = rules.into_iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
        writer.end(parsers);
        if let Some(last) = rules.iter().position(Rule::is_for_all).filter(|last| last + 1 < rules.len()) {
            let message = format!("is never reached: `rules[{last}]` is for every request");
            return Err(ScriptError::new(format!("rules[{}]", last + 1), message));
        }
        Ok(Self {
            served_model_names: models,
            rules,
            num_replies: AtomicUsize::new(0),
            answers: Answers::default(),
            log: None,
        })
    }

    /// Keeps the received requests.
    #[must_use]
    pub fn with_log(self) -> Self {
        Self { log: Some(Arc::default()), ..self }
    }

    /// Returns the log of received requests, if it is kept.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<RequestLog>> {
        self.log.as_ref()
    }

    /// Returns a question that some rule answers, if the rules show one.
    #[must_use]
    pub fn example<'a>(&'a self, model: &str) -> Option<&'a str> {
        let mut questions = self.rules.iter().filter_map(Rule::example).chain(["Tell me a joke"]);
        questions.find(|text| {
            let scene = Scene { cue: &Cue::of_text(*text), model, stream: true };
            self.rules.iter().any(|rule| rule.is_for(&scene))
        })
    }

    /// Returns the names that the script serves its model under; may be none.
    #[must_use]
    pub fn served_model_names(&self) -> &[String] {
        &self.served_model_names
    }

    /// Checks that the model of every rule is served.
    ///
    /// # Errors
    /// The first rule that could never be reached.
    pub fn check_served(&self, names: &[String]) -> Result<(), ScriptError> {
        let unserved = |(index, rule): (usize, &Rule)| {
            let model = rule.model().filter(|model| !names.iter().any(|name| name == model))?;
            let message = format!("`{model}` is not among the models that are served: {}", names.join(", "));
            Some(ScriptError::new(format!("rules[{index}].when.model"), message))
        };
        self.rules.iter().enumerate().find_map(unserved).map_or(Ok(()), Err)
    }

    /// Returns the number of replies: one for each choice of each valid request.
    #[must_use]
    pub fn num_replies(&self) -> usize {
        self.num_replies.load(Relaxed)
    }

    /// Returns the next reply of the first rule that matches the request.
    ///
    /// # Errors
    /// The error that the rule gives; 400, if there is no such rule.
    pub fn reply(&self, scene: &Scene<'_>) -> Result<&Arc<ScriptedAnswer>, ApiError> {
        self.num_replies.fetch_add(1, Relaxed);
        let Some(rule) = self.rules.iter().find(|rule| rule.is_for(scene)) else {
            let message = "no rule of the script is for this request".to_owned();
            return Err(ApiError::Invalid { code: "no_rule", param: None, message });
        };
        match rule.next() {
            Reply::Answer(answer) => Ok(answer),
            Reply::Refusal(error) => Err(error.clone()),
        }
    }

    /// Has this answer played for a request, until what is returned is dropped. Call it before
    /// the driver queues the request.
    #[must_use]
    pub fn assign(&self, id: RequestId, answer: &Arc<ScriptedAnswer>) -> Assigned {
        self.answers.assign(id, Arc::clone(answer))
    }
}
