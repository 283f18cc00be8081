//! A grammar as llguidance reads it: rules in Lark's notation, and schemas that they refer to by
//! name.

use std::fmt::Write as _;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

use crate::error::GrammarError;
use crate::grammar::{Node, Piece, Tag, Whitespace};
use crate::lark_guard::check_lark;
use crate::limits::{
    MAX_COUNT, MAX_DEPTH, MAX_GRAMMAR_NODES, MAX_PATTERN_BYTES, MAX_SCHEMAS, MAX_SOURCE_BYTES, check,
};
use crate::vocabulary::Vocabulary;
use crate::{pattern, schema};

/// Writes a node as a grammar.
pub(crate) fn write(node: &Node, vocabulary: &Vocabulary) -> Result<TopLevelGrammar, GrammarError> {
    match node {
        Node::Json { schema, whitespace } => {
            return Ok(TopLevelGrammar::from_json_schema(with_options(schema, *whitespace)?));
        }
        Node::Lark(source) => {
            check_lark(source)?;
            return Ok(TopLevelGrammar::from_lark(source.clone()));
        }
        _ => {}
    }
    let mut writer = Writer {
        vocabulary,
        rules: String::new(),
        parts: Vec::new(),
        num_rules: 0,
        num_nodes: 0,
        num_pattern_bytes: 0,
    };
    let start = writer.node(node, 0)?;
    let rules = format!("start: {start}\n{}", writer.rules);
    let grammars = std::iter::once(GrammarWithLexer::from_lark(rules)).chain(writer.parts).collect();
    Ok(TopLevelGrammar { grammars, max_tokens: None })
}

/// Returns a rewritten schema with the options for llguidance in it.
///
/// Without `\u` escapes each string has one spelling, so that no name can evade the schema.
fn with_options(schema: &Value, whitespace: Whitespace) -> Result<Value, GrammarError> {
    check("the length of the schema in bytes", schema.to_string().len(), MAX_SOURCE_BYTES)?;
    let mut lowered = schema::lower(schema)?;
    let mut options = json!({"json_allowed_escapes": "nrbtf\\\"", "whitespace_flexible": false});
    if whitespace == Whitespace::Flexible {
        options["whitespace_pattern"] = json!(r"\x20|\x0D?\x0A(\x20{0,32}|\x09{0,8})");
    }
    lowered["x-guidance"] = options;
    Ok(lowered)
}

struct Writer<'v> {
    vocabulary: &'v Vocabulary,
    rules: String,
    /// The grammars that rules refer to by name.
    parts: Vec<GrammarWithLexer>,
    num_rules: usize,
    num_nodes: usize,
    num_pattern_bytes: usize,
}

impl Writer<'_> {
    /// Writes the rules of a node; returns its name in other rules.
    fn node(&mut self, node: &Node, depth: usize) -> Result<String, GrammarError> {
        self.num_nodes += 1;
        check("the number of parts of the grammar", self.num_nodes, MAX_GRAMMAR_NODES)?;
        check("the depth of the grammar", depth, MAX_DEPTH)?;
        match node {
            Node::Text(text) => self.text(text),
            Node::Token(id) => self.token(*id),
            Node::Json { schema, whitespace } => {
                self.part(GrammarWithLexer::from_json_schema(with_options(schema, *whitespace)?))
            }
            Node::Lark(source) => {
                check_lark(source)?;
                self.part(GrammarWithLexer::from_lark(source.clone()))
            }
            Node::Regex(regex) => {
                check("the length of the regular expression in bytes", regex.len(), MAX_PATTERN_BYTES)?;
                self.num_pattern_bytes += regex.len();
                check(
                    "the length of all regular expressions in bytes",
                    self.num_pattern_bytes,
                    MAX_PATTERN_BYTES,
                )?;
                let invalid = |reason| GrammarError::Invalid { path: "regex".to_owned(), reason };
                let pattern = pattern::whole_text(regex).map_err(invalid)?;
                Ok(self.terminal(&slashed(&pattern)))
            }
            Node::Choice(texts) => self.choice(texts),
            Node::Until(text) => self.until(text),
            Node::Sequence(nodes) => {
                let parts =
                    nodes.iter().map(|node| self.node(node, depth + 1)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.rule(&parts.join(" ")))
            }
            Node::AnyOf(nodes) if nodes.is_empty() => Err(empty("any of no parts")),
            Node::AnyOf(nodes) => {
                let parts =
                    nodes.iter().map(|node| self.node(node, depth + 1)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.rule(&parts.join(" | ")))
            }
            Node::Repeat { node, separator, min, max } => {
                let one = self.node(node, depth + 1)?;
                let separator = self.text(separator)?;
                let more = self.rule(&format!("{separator} {one}"));
                if *max == Some(0) {
                    return Ok(quoted(""));
                }
                let all =
                    format!("{one} {}", repeated(&more, min.saturating_sub(1), max.map(|max| max - 1))?);
                Ok(if *min == 0 { self.rule(&format!("({all})?")) } else { self.rule(&all) })
            }
            Node::Free { tags, min, max } => self.free(tags, (*min, *max), depth),
        }
    }

    fn part(&mut self, grammar: GrammarWithLexer) -> Result<String, GrammarError> {
        check("the number of schemas in the grammar", self.parts.len() + 1, MAX_SCHEMAS)?;
        let name = format!("s{}", self.parts.len());
        let reference = format!("@{name}");
        self.parts.push(GrammarWithLexer { name: Some(name), ..grammar });
        Ok(reference)
    }

    fn text(&mut self, text: &str) -> Result<String, GrammarError> {
        check("the length of a text in bytes", text.len(), MAX_SOURCE_BYTES)?;
        Ok(quoted(text))
    }

    fn token(&self, id: u32) -> Result<String, GrammarError> {
        if !self.vocabulary.is_special(id) {
            let reason = format!("token {id} is not a special token");
            return Err(GrammarError::Invalid { path: "token".to_owned(), reason });
        }
        Ok(format!("<[{id}]>"))
    }

    /// One terminal for all texts: rules would be tried one by one.
    fn choice(&mut self, texts: &[String]) -> Result<String, GrammarError> {
        if texts.is_empty() {
            return Err(empty("a choice of no texts"));
        }
        self.num_nodes += texts.len();
        check("the number of parts of the grammar", self.num_nodes, MAX_GRAMMAR_NODES)?;
        let num_bytes = texts.iter().map(String::len).sum();
        check("the length of all choices in bytes", num_bytes, MAX_SOURCE_BYTES)?;
        let options: Vec<_> = texts.iter().filter(|text| !text.is_empty()).map(|text| quoted(text)).collect();
        let optional = if options.len() < texts.len() { "?" } else { "" };
        if options.is_empty() {
            return Ok(quoted(""));
        }
        let terminal = self.terminal(&options.join(" | "));
        Ok(self.rule(&format!("{terminal}{optional}")))
    }

    /// Returns a lazy terminal, which ends with the first occurrence of the text.
    fn until(&mut self, text: &str) -> Result<String, GrammarError> {
        if text.is_empty() {
            return Err(empty("a text up to an empty one"));
        }
        check("the length of a text in bytes", text.len(), MAX_SOURCE_BYTES)?;
        self.num_rules += 1;
        let name = format!("r{}", self.num_rules);
        let _ = writeln!(self.rules, "{name}[suffix={}]: /(?s:.*)/", quoted(text));
        Ok(name)
    }

    /// Free text and tags.
    ///
    /// ```text
    /// item  = (text up to a trigger, rest) or (text without triggers, token, rest)
    /// whole = item item ... (text without triggers)
    /// ```
    fn free(
        &mut self,
        tags: &[Tag],
        (min, max): (usize, Option<usize>),
        depth: usize,
    ) -> Result<String, GrammarError> {
        let mut triggers: Vec<&str> = Vec::new();
        for tag in tags {
            if let Piece::Text(text) = &tag.trigger
                && !triggers.contains(&text.as_str())
            {
                triggers.push(text);
            }
        }
        check("the number of triggers", triggers.len(), MAX_SCHEMAS)?;
        check(
            "the length of all triggers in bytes",
            triggers.iter().map(|text| text.len()).sum(),
            MAX_PATTERN_BYTES,
        )?;
        let text = self.text_without(&triggers);
        let mut items = Vec::new();
        for tag in tags {
            let begin = match &tag.trigger {
                Piece::Text(trigger) => self.until(trigger)?,
                Piece::Token(id) => format!("{text}? {}", self.token(*id)?),
            };
            items.push(format!("{begin} {}", self.node(&tag.rest, depth + 1)?));
        }
        if items.is_empty() {
            return if min == 0 {
                Ok(self.rule(&format!("{text}?")))
            } else {
                Err(empty("at least one of no tags"))
            };
        }
        let item = self.rule(&items.join(" | "));
        let whole = match max {
            None => format!("{} {text}?", repeated(&item, min, None)?),
            Some(0) => format!("{text}?"),
            // Nothing follows the last possible tag.
            Some(max) if min >= max => repeated(&item, max, Some(max))?,
            Some(max) => format!(
                "{} {text}? | {}",
                repeated(&item, min, Some(max - 1))?,
                repeated(&item, max, Some(max))?
            ),
        };
        Ok(self.rule(&whole))
    }

    /// Returns a terminal for any text without these triggers.
    fn text_without(&mut self, triggers: &[&str]) -> String {
        if triggers.is_empty() {
            return self.terminal("/(?s:.+)/");
        }
        let any: Vec<_> = triggers.iter().map(|trigger| regex_syntax::escape(trigger)).collect();
        let with = slashed(&format!("(?s:.*)(?:{})(?s:.*)", any.join("|")));
        self.terminal(&format!("/(?s:.+)/ & ~{with}"))
    }

    fn rule(&mut self, body: &str) -> String {
        self.num_rules += 1;
        let _ = writeln!(self.rules, "r{}: {body}", self.num_rules);
        format!("r{}", self.num_rules)
    }

    fn terminal(&mut self, body: &str) -> String {
        self.num_rules += 1;
        let _ = writeln!(self.rules, "T{}: {body}", self.num_rules);
        format!("T{}", self.num_rules)
    }
}

/// Returns a repeated rule.
fn repeated(rule: &str, min: usize, max: Option<usize>) -> Result<String, GrammarError> {
    let limit = MAX_COUNT as usize;
    check("a number of repetitions", max.unwrap_or(min), limit)?;
    Ok(match (min, max) {
        (_, Some(0)) => quoted(""),
        (0, None) => format!("{rule}*"),
        (1, None) => format!("{rule}+"),
        (_, None) => format!("{rule}{{{min},}}"),
        (_, Some(max)) => format!("{rule}{{{min},{max}}}"),
    })
}

/// Returns a text as a string of Lark, which has the escapes of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', r"\u007f")
}

/// Returns a pattern between slashes. What ends a line or a pattern there is written by its number.
fn slashed(pattern: &str) -> String {
    format!("/{}/", pattern.replace('/', r"\/").replace('\n', r"\n").replace('\r', r"\r"))
}

fn empty(what: &str) -> GrammarError {
    GrammarError::Compile(format!("{what} says nothing"))
}
