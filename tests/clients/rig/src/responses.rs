//! What responses alone have: answers that the server keeps, and thoughts that are handed back
//! where it keeps none.

use anyhow::{Context, Result, ensure};
use rig::completion::Effort;
use serde_json::{Value, json};

use crate::api::{Api, asked, question};
use crate::checks::Checks;
use crate::tools::Weather;

pub async fn run(checks: &mut Checks) {
    checks
        .run(
            Api::Responses,
            "`previous_response_id` sends only what is new, and the server knows the rest",
            kept(),
        )
        .await;
    checks
        .run(
            Api::Responses,
            "where nothing is kept a thought is handed back between two calls, encrypted",
            handed_back(),
        )
        .await;
}

async fn kept() -> Result<()> {
    let model = Api::Responses.script();
    let first = model.call(asked(question("thought"))).await?;
    let id = first.response_id().context("a response without an id")?;
    let previous = json!({ "previous_response_id": id });
    let alone = model.call(asked(question("report"))).await?;
    let second = model.call(asked(question("report")).additional_params(previous)).await?;
    ensure!(second.text() == alone.text());
    ensure!(second.usage.input_tokens > alone.usage.input_tokens, "{:?}", second.usage);
    Ok(())
}

async fn handed_back() -> Result<()> {
    let agent = Api::Responses.agent().additional_params(json!({ "store": false })).reasoning(Effort::Low);
    let answer = agent.tool(Weather::default()).build().prompt(question("trip")).await?;
    ensure!(answer.output() == "Zürich is warmer.");
    let first = &answer.completion_calls.first().context("no call of the model")?.raw;
    let item = &first["output"][0];
    ensure!(item["type"] == "reasoning", "{first}");
    ensure!(item["encrypted_content"].as_str().is_some_and(|content| !content.is_empty()), "{first}");
    ensure!(first["store"] == Value::Bool(false), "{first}");
    Ok(())
}
