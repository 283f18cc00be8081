//! Answers that are held to a type.

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rig::agent::MultiTurnStreamItem;
use rig::extractor::ExtractorBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Api, question};
use crate::checks::Checks;

pub async fn run(checks: &mut Checks, api: Api) {
    checks.run(api, "a type holds the answer to its schema, whole and streamed", typed(api)).await;
    checks.run(api, "an extractor gets its type by a call that it demands", extracted(api)).await;
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
struct Report {
    city: String,
    celsius: i32,
}

impl Report {
    fn expected() -> Self {
        Self { city: "Zürich".to_owned(), celsius: 21 }
    }
}

async fn typed(api: Api) -> Result<()> {
    let agent = api.agent().build();
    let whole = agent.prompt_typed::<Report>(question("report")).await?;
    ensure!(whole.output == Report::expected());
    let mut stream = api.agent().output_schema::<Report>().build().prompt(question("report")).stream();
    let mut answer = None;
    while let Some(item) = stream.next().await {
        if let MultiTurnStreamItem::FinalResponse(response) = item? {
            answer = Some(response.output());
        }
    }
    let answer = answer.context("the stream had no answer")?;
    ensure!(serde_json::from_str::<Report>(&answer)? == Report::expected());
    Ok(())
}

async fn extracted(api: Api) -> Result<()> {
    let extractor = ExtractorBuilder::<Report>::new(api.script()).max_tokens(1000).build();
    let answer = extractor.extract(question("submitted")).await?;
    ensure!(answer.output == Report::expected());
    ensure!(answer.requests() == 1);
    Ok(())
}
