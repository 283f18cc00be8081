//! Refusals, answers that fail on the way, and clients that leave.

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use rig::agent::MultiTurnStreamItem;
use rig::completion::CompletionRequest;
use rig::operation::Completion;
use rig::prelude::{DynModel, ProviderError};
use rig::streaming::{Item, StreamEvent};

use crate::api::{Api, asked, question, streamed};
use crate::checks::Checks;
use crate::server::{num_aborted, script, wait_for};
use crate::tools::Weather;

pub async fn run(checks: &mut Checks, api: Api) {
    checks
        .run(
            api,
            "a refusal has its status and its words, and may be tried again or not, whole and streamed",
            refusals(api),
        )
        .await;
    checks.run(api, "a 429 says when to come back", retry_after(api)).await;
    checks.run(api, "an answer that fails on the way is an error behind its text", broken(api)).await;
    checks.run(api, "a connection that is cut is an error behind its text", cut(api)).await;
    checks.run(api, "a stream that is dropped is not generated on", dropped_stream(api)).await;
    checks.run(api, "a call that is dropped is not generated on", dropped_call(api)).await;
}

/// The errors of a request, whole and streamed.
async fn failures(model: &DynModel<Completion>, request: CompletionRequest) -> Result<[ProviderError; 2]> {
    let whole = model.call(request.clone()).await.err().context("the whole answer was taken")?;
    let streamed = streamed(model, request).await.1.err().context("the stream was taken")?;
    Ok([whole, streamed])
}

async fn refusals(api: Api) -> Result<()> {
    let script_of = |key: &str, name: &str| api.model_with_key(script(), key, name);
    let cases = [
        (script_of("wrong", "script"), "Hello", 401, "Incorrect API key", false),
        (api.model(script(), "unknown"), "Hello", 404, "unknown", false),
        (api.script(), "429", 429, "full", true),
        (api.script(), "500", 500, "broken", true),
        (api.script(), "503", 503, "going", true),
    ];
    for (model, question, status, words, may_retry) in cases {
        for error in failures(&model, asked(question)).await? {
            ensure!(
                error.provider_response_status().map(|status| status.as_u16()) == Some(status),
                "{error:?}"
            );
            ensure!(error.provider_response_body().is_some_and(|body| body.contains(words)), "{error:?}");
            ensure!(error.is_retryable() == may_retry, "{error:?}");
        }
    }
    Ok(())
}

async fn retry_after(api: Api) -> Result<()> {
    for error in failures(&api.script(), asked("429")).await? {
        let headers = error.provider_response_headers().context("no headers")?;
        ensure!(headers.get("retry-after").is_some_and(|seconds| seconds == "1"), "{headers:?}");
    }
    Ok(())
}

async fn broken(api: Api) -> Result<()> {
    let (pieces, answer) = streamed(&api.script(), asked("error later")).await;
    ensure!(pieces.text.concat() == "One two", "{pieces:?}");
    let error = answer.err().context("the stream was taken")?;
    ensure!(error.to_string().contains("broke later"), "{error:?}");
    let agent = Weather::default().agent(api);
    let whole = agent.prompt(question("broken")).await.err().context("the whole answer was taken")?;
    ensure!(whole.to_string().contains("broke in a call"), "{whole:?}");
    let mut stream = agent.prompt(question("broken")).stream();
    while let Some(item) = stream.next().await {
        match item {
            Ok(MultiTurnStreamItem::FinalResponse(answer)) => bail!("the stream was taken: {answer:?}"),
            Ok(_) => {}
            Err(error) => {
                ensure!(error.to_string().contains("broke in a call"), "{error:?}");
                return Ok(());
            }
        }
    }
    bail!("the stream ended as if nothing had happened")
}

async fn cut(api: Api) -> Result<()> {
    let (pieces, answer) = streamed(&api.script(), asked("cut")).await;
    ensure!(pieces.text.concat() == "One two", "{pieces:?}");
    let error = answer.err().context("the stream was taken")?;
    ensure!(error.is_retryable(), "{error:?}");
    Ok(())
}

async fn dropped_stream(api: Api) -> Result<()> {
    let before = num_aborted().await?;
    let mut stream = Weather::default().agent(api).prompt("hang").stream();
    while let Some(item) = stream.next().await {
        if let MultiTurnStreamItem::StreamAssistantItem(Item::Event(StreamEvent::Text { .. })) = item? {
            break;
        }
    }
    drop(stream);
    wait_for("streamcore_aborts_total", before + 1).await
}

async fn dropped_call(api: Api) -> Result<()> {
    let before = num_aborted().await?;
    // What is counted below is this call alone.
    wait_for("streamcore_num_requests_running", 0).await?;
    tokio::select! {
        answer = api.script().call(asked("hang")) => bail!("what hangs was answered: {answer:?}"),
        running = wait_for("streamcore_num_requests_running", 1) => running?,
    }
    wait_for("streamcore_aborts_total", before + 1).await
}
