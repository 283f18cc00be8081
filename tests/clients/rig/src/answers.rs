//! Text, its end, its usage and its thought, whole and streamed.

use anyhow::{Result, ensure};
use rig::completion::{AssistantContent, CompletionRequest, FinishReason, Message};

use crate::api::{Api, asked, question, streamed};
use crate::checks::Checks;
use crate::server::demo;

pub async fn run(checks: &mut Checks, api: Api) {
    checks.run(api, "a stream adds up to the whole answer, with its id and its usage", text(api)).await;
    checks.run(api, "an answer says how it ended, whole and streamed", ends(api)).await;
    checks.run(api, "a thought is kept apart from the text, whole and streamed", thought(api)).await;
    checks.run(api, "a conversation with a thought in it goes on", conversation(api)).await;
}

async fn text(api: Api) -> Result<()> {
    let model = api.model(demo(), "demo");
    let request = CompletionRequest::new("Explain machine learning").temperature(0.0).max_tokens(60);
    let whole = model.call(request.clone()).await?;
    let (pieces, answer) = streamed(&model, request).await;
    let answer = answer?;
    ensure!(whole.text().len() > 20, "{whole:?}");
    ensure!(pieces.text.len() > 1, "{pieces:?}");
    ensure!(pieces.text.concat() == whole.text());
    ensure!(answer.text() == whole.text());
    for answer in [&whole, &answer] {
        ensure!(answer.response_id().is_some_and(|id| id.starts_with(api.id_prefix())), "{answer:?}");
        ensure!(answer.model() == Some("demo"));
        ensure!(answer.usage.input_tokens > Some(0));
        ensure!(answer.usage.output_tokens > Some(5));
    }
    ensure!(answer.usage.input_tokens == whole.usage.input_tokens);
    ensure!(answer.usage.output_tokens == whole.usage.output_tokens);
    Ok(())
}

async fn ends(api: Api) -> Result<()> {
    let model = api.model(demo(), "demo");
    let cut = CompletionRequest::new("Explain machine learning").max_tokens(5);
    for answer in [model.call(cut.clone()).await?, streamed(&model, cut).await.1?] {
        ensure!(answer.finish_reason() == Some(FinishReason::Length), "{answer:?}");
        ensure!(answer.usage.output_tokens == Some(5));
    }
    let model = api.script();
    for answer in [model.call(asked("Hello")).await?, streamed(&model, asked("Hello")).await.1?] {
        ensure!(answer.finish_reason() == Some(FinishReason::Stop), "{answer:?}");
        ensure!(answer.text() == "Hello!");
    }
    Ok(())
}

async fn thought(api: Api) -> Result<()> {
    let model = api.script();
    let whole = model.call(asked(question("thought"))).await?;
    let (pieces, answer) = streamed(&model, asked(question("thought"))).await;
    for answer in [&whole, &answer?] {
        ensure!(answer.reasoning() == "Six times seven.", "{answer:?}");
        ensure!(answer.text() == "It is 42.");
    }
    ensure!(pieces.thought.concat() == "Six times seven.");
    ensure!(pieces.text.concat() == "It is 42.");
    Ok(())
}

async fn conversation(api: Api) -> Result<()> {
    let agent = api.agent().build();
    let mut history = Vec::new();
    agent.chat(question("thought"), &mut history).await?;
    let has_thought = history.iter().any(|message| match message {
        Message::Assistant(turn) => {
            turn.content.iter().any(|part| matches!(part, AssistantContent::Reasoning(_)))
        }
        _ => false,
    });
    ensure!(has_thought, "{history:?}");
    let answer = agent.chat(question("report"), &mut history).await?;
    ensure!(answer.output().contains("Zürich"), "{answer}");
    ensure!(history.len() == 4, "{history:?}");
    Ok(())
}
