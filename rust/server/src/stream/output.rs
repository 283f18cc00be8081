//! The text of one choice and its tokens, always held back, cut off or shown together.

use std::collections::VecDeque;
use std::mem;

use streamcore_engine::TokenLogprobs;

use super::delta::{Delta, Scored, ShownToken};
use crate::asked::Stops;
use crate::driver::Token;
use crate::stream::finish::{Finish, FinishReason, StopReason};
use crate::text::{Detokenizer, StopStrings};

/// Maximum tokens without text that wait for text.
pub(super) const MAX_TEXTLESS: usize = 16;

/// Tokens in, text and tokens out, until a stop.
///
/// Tokens that share a character go together, and one without text goes with those behind it,
/// unless very many come. If tokens are reported, text goes out with its last token only:
///
/// ```text
/// tokens     "a#"  "#"  "b"          stop "##!"
/// text       ─     a ─  a##b         "a" is certain at once, the rest of its token is held back
/// ```
#[derive(Debug)]
pub struct Output {
    detokenizer: Detokenizer,
    stop_strings: StopStrings,
    stops: Stops,
    tells_tokens: bool,
    num_tokens: usize,
    /// Characters up to here, those of an echoed prompt included.
    num_chars: usize,
    /// Tokens that have not been reported.
    untold: VecDeque<Untold>,
    /// Start of the text of the tokens that share a character with the next one.
    open_start: Option<usize>,
    /// Certain text that is not shown yet, since its last token also has uncertain text.
    certain: String,
    /// Bytes of detokenised text that are not shown yet.
    num_unshown: usize,
    /// Scratch space, kept for its capacity.
    fresh: String,
}

#[derive(Debug)]
struct Untold {
    token: ShownToken,
    /// Start of the token's text, in bytes behind the shown text.
    start: usize,
    /// End of that text; `None` while it is incomplete.
    end: Option<usize>,
}

impl Output {
    /// Creates an output that ends at these stops.
    #[must_use]
    pub fn new(detokenizer: Detokenizer, stops: Stops, tells_tokens: bool) -> Self {
        Self {
            detokenizer,
            stop_strings: StopStrings::new(stops.texts.clone(), stops.are_part_of_output),
            stops,
            tells_tokens,
            num_tokens: 0,
            num_chars: 0,
            untold: VecDeque::new(),
            open_start: None,
            certain: String::new(),
            num_unshown: 0,
            fresh: String::new(),
        }
    }

    /// Returns the number of tokens taken so far, a final stop token included.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Returns whether a stop token that ends the output is no part of it.
    #[must_use]
    pub fn hides_stop_token(&self) -> bool {
        !self.stops.are_part_of_output
    }

    /// Starts the text behind this many characters of a prompt.
    pub fn begin_behind(&mut self, num_chars: usize) {
        self.num_chars += num_chars;
    }

    /// Takes a token and appends certain output. Returns the end if a stop string is complete.
    pub fn push(&mut self, token: Token, delta: &mut Delta) -> Option<Finish> {
        self.num_tokens += 1;
        let id = token.id;
        self.take_generated(token);
        let matched = self.advance(delta);
        if matched.is_some() || !self.fresh.is_empty() {
            return matched;
        }
        self.advance_hidden(id, delta)
    }

    /// Takes the stop token that ended the output, which is part of it only if the client wants
    /// that.
    pub fn stop_at(&mut self, token: Token, delta: &mut Delta) -> Finish {
        self.num_tokens += 1;
        let token_id = token.id;
        let is_clients = self.stops.token_ids.contains(&token_id);
        let stop_reason = is_clients.then_some(StopReason::Token(token_id));
        if self.stops.are_part_of_output {
            self.take_generated(token);
            let matched = self.advance(delta).or_else(|| self.advance_hidden(token_id, delta));
            if let Some(matched) = matched.filter(|_| !is_clients) {
                return matched;
            }
            return self.end(Finish { finish_reason: FinishReason::Stop, stop_reason }, delta);
        }
        // A stop string may match the model's own end token.
        if !is_clients && let Some(matched) = self.match_unseen(token_id, delta) {
            return matched;
        }
        let finish = self.end(Finish { finish_reason: FinishReason::Stop, stop_reason }, delta);
        if self.tells_tokens && !matches!(finish.stop_reason, Some(StopReason::Text(_))) {
            delta.tail.push(ShownToken { id: token_id, offset: self.num_chars, ..ShownToken::default() });
        }
        finish
    }

    /// Ends the output, unless the rest of an unfinished character completes a stop string.
    pub fn end(&mut self, finish: Finish, delta: &mut Delta) -> Finish {
        self.fresh.clear();
        self.detokenizer.finish(&mut self.fresh);
        if let Some(matched) = self.advance(delta) {
            return matched;
        }
        self.tell_rest(delta);
        finish
    }

    /// Shows all text held back, except an unfinished character.
    fn tell_rest(&mut self, delta: &mut Delta) {
        if self.tells_tokens {
            self.stop_strings.finish(&mut self.certain);
            self.show(self.certain.len(), delta);
            delta.tail.extend(self.untold.drain(..).map(|untold| untold.token));
            delta.shorten_tail();
        } else {
            self.stop_strings.finish(&mut delta.text);
        }
    }

    fn take_generated(&mut self, token: Token) {
        let scored = token.logprobs.map(|logprobs| {
            let TokenLogprobs { logprob, top } = *logprobs;
            Scored { id: token.id, logprob: Some(logprob), top, names: self.detokenizer.names().clone() }
        });
        self.take(token.id, scored);
    }

    fn take(&mut self, id: u32, logprobs: Option<Scored>) {
        if self.tells_tokens {
            let token = ShownToken { id, offset: self.num_chars, logprobs, ..ShownToken::default() };
            let start = *self.open_start.get_or_insert(self.num_unshown);
            self.untold.push_back(Untold { token, start, end: None });
        }
        self.fresh.clear();
        self.detokenizer.push(id, &mut self.fresh);
    }

    /// Moves the fresh text on.
    fn advance(&mut self, delta: &mut Delta) -> Option<Finish> {
        let is_watched = self.num_tokens > self.stops.min_tokens;
        if !self.tells_tokens {
            // The usual way: text goes out as soon as it is certain.
            let matched = self.stop_strings.push(&self.fresh, is_watched, &mut delta.text)?;
            return Some(self.matched(matched));
        }
        self.complete_text();
        let Some(matched) = self.stop_strings.push(&self.fresh, is_watched, &mut self.certain) else {
            self.show(self.whole_tokens_len(), delta);
            self.tell_textless(delta);
            return None;
        };
        self.show(self.certain.len(), delta);
        self.untold.clear();
        Some(self.matched(matched))
    }

    /// Advances by a token without text whose name a stop string may contain.
    fn advance_hidden(&mut self, id: u32, delta: &mut Delta) -> Option<Finish> {
        if self.stops.texts.is_empty() || self.detokenizer.shows(id) {
            None
        } else {
            self.match_unseen(id, delta)
        }
    }

    /// Hands the text of a token that is not shown to the stop strings.
    fn match_unseen(&mut self, id: u32, delta: &mut Delta) -> Option<Finish> {
        let text = std::str::from_utf8(self.detokenizer.content(id)).ok()?;
        if !self.stop_strings.mention(text) {
            return None;
        }
        let is_watched = self.num_tokens > self.stops.min_tokens;
        if !self.tells_tokens {
            let matched = self.stop_strings.push_hidden(text, is_watched, &mut delta.text)?;
            return Some(self.matched(matched));
        }
        let matched = self.stop_strings.push_hidden(text, is_watched, &mut self.certain)?;
        // The text of a match that is part of the output belongs to its token.
        self.num_unshown = self.num_unshown.max(self.certain.len());
        self.show(self.certain.len(), delta);
        self.untold.clear();
        Some(self.matched(matched))
    }

    fn matched(&self, index: usize) -> Finish {
        let stop_reason = Some(StopReason::Text(self.stops.texts[index].clone()));
        Finish { finish_reason: FinishReason::Stop, stop_reason }
    }

    /// Counts the fresh text, and notes where it ends if no character is unfinished.
    fn complete_text(&mut self) {
        self.num_unshown += self.fresh.len();
        self.num_chars += self.fresh.chars().count();
        let has_text = self.open_start.is_some_and(|start| start < self.num_unshown);
        if has_text && !self.detokenizer.is_inside_character() {
            self.open_start = None;
            let open = self.untold.iter_mut().rev().take_while(|untold| untold.end.is_none());
            open.for_each(|untold| untold.end = Some(self.num_unshown));
        }
    }

    /// Returns the bytes of the tokens all of whose text is certain.
    fn whole_tokens_len(&self) -> usize {
        let ends = self.untold.iter().map_while(|untold| untold.end);
        ends.take_while(|end| *end <= self.certain.len()).last().unwrap_or(0)
    }

    /// Shows this many bytes of text with all tokens that have a part in them.
    fn show(&mut self, num_bytes: usize, delta: &mut Delta) {
        if num_bytes == 0 {
            return;
        }
        let text_start = delta.text.len();
        delta.text.push_str(&self.certain[..num_bytes]);
        self.certain.drain(..num_bytes);
        self.num_unshown -= num_bytes;
        while self.untold.front().is_some_and(|untold| untold.start < num_bytes) {
            let Some(Untold { token, end, .. }) = self.untold.pop_front() else { break };
            let text_end = text_start + end.map_or(num_bytes, |end| end.min(num_bytes));
            delta.tokens.push(ShownToken { text_end, ..token });
        }
        for Untold { start, end, .. } in &mut self.untold {
            *start -= num_bytes;
            *end = end.map(|end| end - num_bytes);
        }
        self.open_start = self.open_start.map(|start| start.saturating_sub(num_bytes));
    }

    /// Reports tokens without text if there are too many: a model may repeat its end token.
    fn tell_textless(&mut self, delta: &mut Delta) {
        let has_text = self.num_unshown > 0 || self.detokenizer.is_inside_character();
        if has_text || self.untold.len() < MAX_TEXTLESS {
            return;
        }
        self.open_start = None;
        self.untold.drain(..).for_each(|untold| delta.tell_textless(untold.token));
    }
}

/// Returns the log-probabilities of a prompt; those of the engine begin with the second token. The
/// first follows nothing and has none.
pub(super) fn score_prompt(
    detokenizer: &Detokenizer,
    prompt: &[u32],
    logprobs: &[TokenLogprobs],
    num_top: usize,
) -> Vec<Scored> {
    let mut detokenizer = detokenizer.clone();
    let mut text = String::new();
    let logprobs = std::iter::once(None).chain(logprobs.iter().map(Some));
    let score = |(id, logprobs): (&u32, Option<&TokenLogprobs>)| {
        let top = logprobs.map_or(&[][..], |logprobs| &logprobs.top);
        let top = top[..num_top.min(top.len())].to_vec();
        let names = detokenizer.names().clone();
        detokenizer.push(*id, &mut text);
        text.clear();
        Scored { id: *id, logprob: logprobs.map(|logprobs| logprobs.logprob), top, names }
    };
    prompt.iter().zip(logprobs).map(score).collect()
}

/// Appends the text of a prompt and its tokens. An unfinished character at its end is left to the
/// answer.
pub(super) fn tell_prompt(detokenizer: Detokenizer, scores: Vec<Scored>, delta: &mut Delta) {
    let mut output = Output::new(detokenizer, Stops::default(), true);
    for scored in scores {
        output.take(scored.id, Some(scored));
        output.advance(delta);
    }
    output.tell_rest(delta);
    mem::take(&mut delta.tail).into_iter().for_each(|token| delta.tell_textless(token));
    delta.tokens.iter_mut().for_each(|token| token.is_prompt = true);
}
