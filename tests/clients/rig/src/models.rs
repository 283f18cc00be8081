//! What both clients learn of a server before they ask it anything.

use anyhow::{Context, Result, ensure};
use rig::prelude::ProviderError;
use rig::providers::anthropic::AnthropicConfig;
use rig::providers::openai::OpenAIConfig;

use crate::api::Api;
use crate::checks::Checks;
use crate::server::{KEY, script};

const MODELS: [&str; 2] = ["script", "caller"];

pub async fn run(checks: &mut Checks) {
    let sentence = "the client lists the models, and knows whether its key is taken";
    checks.run(Api::Responses, sentence, openai()).await;
    checks.run(Api::Messages, sentence, anthropic()).await;
}

async fn openai() -> Result<()> {
    let client = |key: &str| OpenAIConfig::new(key).with_base_url(format!("{}/v1", script())).client();
    let listed = client(KEY.as_str()).list_models().await?;
    ensure!(listed.data.iter().map(|model| model.id.as_str()).eq(MODELS), "{listed:?}");
    client(KEY.as_str()).verify().await?;
    refused(client("wrong").verify().await)
}

async fn anthropic() -> Result<()> {
    let client = |key: &str| AnthropicConfig::new(key).with_base_url(script()).client();
    let listed = client(KEY.as_str()).list_models().await?;
    ensure!(listed.data.iter().map(|model| model.id.as_str()).eq(MODELS), "{listed:?}");
    client(KEY.as_str()).verify().await?;
    refused(client("wrong").verify().await)
}

fn refused(verified: Result<(), ProviderError>) -> Result<()> {
    let error = verified.err().context("a wrong key was taken")?;
    ensure!(matches!(error, ProviderError::InvalidAuthentication(_)), "{error:?}");
    Ok(())
}
