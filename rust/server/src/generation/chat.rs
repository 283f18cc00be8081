//! Turns a conversation of any dialect into a request that can be queued.

use super::{
    Generation, Manner, Prompt, answer_setup, chat_grammar, encode_conversation, instruct, max_prompt_tokens,
};
use crate::app::App;
use crate::asked::ChatRequest;
use crate::asked::tools::declared;
use crate::error::ApiError;
use crate::script::cue::Cue;

/// Prepares a conversation's prompt, the parser of its answer, and its grammar.
///
/// # Errors
/// 404 if the model is not served; 400 if it does not support the request.
pub fn of_chat(app: &App, request: ChatRequest) -> Result<Generation, ApiError> {
    let ChatRequest { mut conversation, tools, mut options } = request;
    options.model = app.served_name(&options.model)?.to_owned();
    options.details.reasoning_field = app.naming.reasoning_field;
    options.details.calls_are_older = tools.are_functions();
    let cue = app.script.as_ref().map(|_| Cue::of_messages(&conversation.messages));
    instruct(app, &mut conversation, &tools);
    let encoded = encode_conversation(app, conversation, max_prompt_tokens(app, &options))?;
    let manner = Manner::of(app, &tools, &encoded.text);
    let setup = answer_setup(&manner, declared(tools.callable()));
    let grammar = chat_grammar(&manner, options.asked.take(), &tools)?;
    let prompt = Prompt { tokens: encoded.tokens, field: "messages".to_owned(), echo: None, cue };
    let mut generation = Generation::new(app, options, vec![prompt], usize::MAX)?;
    (generation.setup, generation.grammar) = (setup, grammar);
    Ok(generation)
}

/// Tokens of the prompt of a conversation, however many there are: what it would be cut to does not
/// count.
///
/// # Errors
/// 404, if the model is not served; 400, if there is no such prompt.
pub fn num_prompt_tokens(app: &App, request: ChatRequest) -> Result<usize, ApiError> {
    let ChatRequest { mut conversation, tools, options } = request;
    app.served_name(&options.model)?;
    instruct(app, &mut conversation, &tools);
    Ok(encode_conversation(app, conversation, None)?.tokens.len())
}
