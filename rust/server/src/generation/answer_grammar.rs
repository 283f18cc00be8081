//! Builds one grammar for an answer: a thought if the model reasons, then calls, or content, or
//! either.

use serde_json::{Value, json};
use streamcore_grammar::{Call, Calls, Grammar, Node, Piece, Tag};
use streamcore_parsers::{CallSyntax, ReasoningFormat, ReasoningSyntax, ToolFormat};

use super::arguments::{Arguments, until};
use super::instruction::PLAIN_FORMAT;
use crate::app::App;
use crate::asked::Asked;
use crate::asked::tools::{Choice, Tools};
use crate::error::ApiError;
use crate::text::Tokenizer;

/// A grammar to compile, and the field that requires it.
#[derive(Debug, Clone)]
pub struct AskedGrammar {
    /// The grammar of the answer.
    pub grammar: Grammar,
    /// The same with unconstrained arguments, unless the request enforces their schemas.
    pub loose: Option<Grammar>,
    /// The field that an error names.
    pub field: String,
    /// Where calls are held to something, too: what the field asks for by itself, and the field of
    /// the calls.
    pub beside_calls: Option<(Grammar, String)>,
}

/// The notation in which a model writes answers.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The format of its calls.
    pub tools: Option<ToolFormat>,
    /// The format of its reasoning.
    pub reasoning: Option<ReasoningFormat>,
    /// Whether the prompt has opened the reasoning.
    pub starts_in_reasoning: bool,
    /// Tokens that end an answer.
    pub end_ids: &'a [u32],
}

/// Builds the grammar of a chat's answer, if it needs one.
///
/// # Errors
/// 400 if a strict tool's schema cannot be enforced in the model's notation.
pub fn chat_grammar(
    manner: &Manner<'_>,
    asked: Option<Asked>,
    tools: &Tools,
) -> Result<Option<AskedGrammar>, ApiError> {
    let format = manner.tools.filter(|_| tools.may_be_called());
    let Some(format) = format.filter(|_| asked.is_some() || tools.need_grammar()) else {
        return Ok(asked.map(|Asked { node, field }| AskedGrammar {
            grammar: Grammar(manner.around(manner.content(node))),
            loose: None,
            field,
            beside_calls: None,
        }));
    };
    let writer = CallWriter::new(manner, format);
    let field = asked.as_ref().map_or(tools.field(), |asked| asked.field.clone());
    let content = asked.map(|asked| asked.node);
    let beside_calls = content.clone().map(|node| (Grammar(node), tools.field()));
    let whole = |calls: Vec<Call>| {
        let is_parallel = tools.is_parallel && writer.syntax.is_parallel;
        let node = match (&tools.choice, content.clone()) {
            (Choice::Required | Choice::Named(_), _) => writer.calls(calls, is_parallel),
            (_, Some(content)) => {
                Node::AnyOf(vec![writer.calls(calls, is_parallel), manner.content(content)])
            }
            (_, None) => writer.within_text(calls, is_parallel),
        };
        Grammar(manner.around(node))
    };
    let exact = tools.callable().map(|tool| writer.call(tool, false));
    let exact: Result<Vec<_>, String> = exact.collect();
    let loose = || tools.callable().filter_map(|tool| writer.call(tool, true).ok()).collect();
    let is_strict = tools.callable().any(is_strict);
    match exact {
        Ok(calls) => {
            let loose = (!is_strict).then(|| whole(loose()));
            Ok(Some(AskedGrammar { grammar: whole(calls), loose, field, beside_calls }))
        }
        Err(_) if !is_strict => {
            Ok(Some(AskedGrammar { grammar: whole(loose()), loose: None, field, beside_calls }))
        }
        Err(message) => Err(ApiError::invalid("unsupported_parameter", tools.field(), message)),
    }
}

/// Builds the grammar of a text completion.
#[must_use]
pub fn completion_grammar(asked: Option<Asked>) -> Option<AskedGrammar> {
    asked.map(|Asked { node, field }| AskedGrammar {
        grammar: Grammar(node),
        loose: None,
        field,
        beside_calls: None,
    })
}

fn is_strict(tool: &Value) -> bool {
    tool["function"]["strict"] == true
}

impl<'a> Manner<'a> {
    /// Returns the model's notation behind this prompt.
    #[must_use]
    pub fn of(app: &'a App, tools: &Tools, prompt: &str) -> Self {
        let formats = app.text.formats;
        let plain = tools.must_be_called().then_some(PLAIN_FORMAT);
        Self {
            tokenizer: &app.text.tokenizer,
            tools: formats.tools.or(plain),
            reasoning: formats.reasoning,
            starts_in_reasoning: formats.reasoning.is_some_and(|format| format.is_open_behind(prompt)),
            end_ids: &app.text.generation.eos_token_ids,
        }
    }

    fn text(&self, text: &str) -> Node {
        Node::pieces(self.tokenizer.pieces(text))
    }

    /// Adds what precedes content.
    fn content(&self, node: Node) -> Node {
        let before = self.reasoning.map_or("", |format| format.syntax().before_content);
        if before.is_empty() { node } else { Node::Sequence(vec![self.text(before), node]) }
    }

    /// Adds an unconstrained thought before the answer, if the model reasons.
    fn around(&self, answer: Node) -> Node {
        let Some(reasoning) = self.reasoning else { return answer };
        let ReasoningSyntax { begin, end, .. } = reasoning.syntax();
        let thought = until(self.tokenizer, end, answer.clone());
        if self.starts_in_reasoning {
            return thought;
        }
        Node::AnyOf(vec![Node::Sequence(vec![self.text(begin), thought]), answer])
    }
}

/// Writes calls in a model's notation.
struct CallWriter<'a> {
    manner: &'a Manner<'a>,
    syntax: CallSyntax,
}

impl<'a> CallWriter<'a> {
    fn new(manner: &'a Manner<'a>, format: ToolFormat) -> Self {
        let tokenizer = manner.tokenizer;
        let mut syntax = format.call_syntax(|text| tokenizer.added_token_id(text).is_some());
        // The end of the answer is added elsewhere.
        if let [Piece::Token(id)] = tokenizer.pieces(syntax.behind_arguments)[..]
            && manner.end_ids.contains(&id)
        {
            syntax.behind_arguments = "";
        }
        Self { manner, syntax }
    }

    fn call(&self, tool: &Value, is_loose: bool) -> Result<Call, String> {
        let syntax = &self.syntax;
        let function = &tool["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let default = json!({"type": "object", "properties": {}});
        let schema = function.get("parameters").unwrap_or(&default);
        let (tokenizer, behind) = (self.manner.tokenizer, syntax.behind_arguments);
        let writer = Arguments { syntax: syntax.arguments, behind, tokenizer };
        let is_loose = is_loose && !is_strict(tool);
        let arguments = if is_loose { Ok(writer.loose(schema)) } else { writer.exact(schema) };
        let arguments = arguments.map_err(|unsupported| {
            let what = unsupported.0;
            format!(
                "the parameters of tool `{name}` have {what}, which cannot be enforced in the way in which this model writes its calls"
            )
        })?;
        let begin = [syntax.before_name, name, syntax.before_arguments].concat();
        Ok(Call { begin: tokenizer.pieces(&begin), arguments, end: Vec::new() })
    }

    /// Returns the grammar of calls alone.
    fn calls(&self, calls: Vec<Call>, is_parallel: bool) -> Node {
        let CallSyntax { first, separator, last, .. } = self.syntax;
        let calls = Calls { calls, parallel: is_parallel }.required(separator);
        Node::Sequence(vec![self.manner.text(first), calls, self.manner.text(last)])
    }

    /// Returns the grammar of text that may contain calls.
    fn within_text(&self, calls: Vec<Call>, is_parallel: bool) -> Node {
        let CallSyntax { trigger, first, .. } = self.syntax;
        let before_content = self.manner.reasoning.map_or("", |format| format.syntax().before_content);
        if trigger.is_empty() || !before_content.is_empty() {
            // These calls stand at the start of an answer, or replace content.
            let free = if before_content.is_empty() {
                Node::Regex(r"([^\[][\s\S]*)?".to_owned())
            } else {
                self.manner.content(Node::Free { tags: Vec::new(), min: 0, max: None })
            };
            return Node::AnyOf(vec![self.calls(calls, is_parallel), free]);
        }
        if first.is_empty() {
            return Calls { calls, parallel: is_parallel }.within_text(trigger);
        }
        // One frame encloses all calls.
        let CallSyntax { separator, last, .. } = self.syntax;
        let mut pieces = self.manner.tokenizer.pieces(first).into_iter();
        let trigger = pieces.next().unwrap_or_else(|| Piece::Text(first.to_owned()));
        let calls = Calls { calls, parallel: is_parallel }.required(separator);
        let rest = Node::Sequence(vec![Node::pieces(pieces), calls, self.manner.text(last)]);
        Node::Free { tags: vec![Tag { trigger, rest }], min: 0, max: Some(1) }
    }
}
