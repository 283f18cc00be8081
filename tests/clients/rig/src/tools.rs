//! Agents with a tool.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rig::agent::{Agent, AgentRunner, MultiTurnStreamItem, PromptResponse};
use rig::completion::PromptError;
use rig::streaming::{Item, StreamEvent};
use rig::tool::{Tool, ToolContext};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, question};
use crate::checks::Checks;

pub async fn run(checks: &mut Checks, api: Api) {
    checks
        .run(
            api,
            "two calls, one after the other, are made and lead to the answer, whole and streamed",
            trip(api),
        )
        .await;
    checks.run(api, "two calls of one answer are both made, whole and streamed", cities(api)).await;
    checks.run(api, "a call that does not fit goes back to the model", mistake(api)).await;
    checks.run(api, "a tool that is not there is the model's error", stranger(api)).await;
    checks.run(api, "a stream tells the thought, the arguments and the text", kinds(api)).await;
}

/// A tool that remembers the cities that it was asked about.
#[derive(Clone, Default)]
pub struct Weather(Arc<Mutex<Vec<String>>>);

#[derive(Deserialize, JsonSchema)]
pub struct Place {
    city: String,
    days: u32,
}

impl Tool for Weather {
    const NAME: &'static str = "get_weather";
    type Args = Place;
    type Output = String;
    type Error = Infallible;

    fn description(&self) -> String {
        "The weather of a city".to_owned()
    }

    fn parameters(&self) -> Value {
        schema_for!(Place).to_value()
    }

    async fn call(&self, _: &mut ToolContext, Place { city, days }: Place) -> Result<String, Infallible> {
        self.0.lock().expect("no check panics").push(city);
        Ok(format!("21 °C for {days} days"))
    }
}

impl Weather {
    /// An agent that has it.
    pub fn agent(&self, api: Api) -> Agent {
        api.agent().tool(self.clone()).build()
    }

    fn cities(&self) -> Vec<String> {
        self.0.lock().expect("no check panics").clone()
    }
}

/// The events of an agent's run, and the answer at its end.
#[derive(Default)]
struct Events {
    kinds: Vec<&'static str>,
    text: String,
    answer: Option<PromptResponse>,
}

impl Events {
    fn num(&self, kind: &str) -> usize {
        self.kinds.iter().filter(|known| **known == kind).count()
    }
}

/// Runs an agent as a stream.
async fn events(runner: AgentRunner) -> Result<Events> {
    let mut events = Events::default();
    let mut stream = runner.stream();
    while let Some(item) = stream.next().await {
        match item? {
            MultiTurnStreamItem::StreamAssistantItem(Item::Event(event)) => {
                events.kinds.push(event.name());
                if let StreamEvent::Text { text, .. } = event {
                    events.text.push_str(&text);
                }
            }
            MultiTurnStreamItem::ToolCall { .. } => events.kinds.push("call"),
            MultiTurnStreamItem::ToolResult { .. } => events.kinds.push("result"),
            MultiTurnStreamItem::FinalResponse(answer) => events.answer = Some(answer),
            _ => {}
        }
    }
    Ok(events)
}

async fn trip(api: Api) -> Result<()> {
    let weather = Weather::default();
    let whole = weather.agent(api).prompt(question("trip")).await?;
    ensure!(weather.cities() == ["Zürich", "Oslo"]);
    let weather = Weather::default();
    let told = events(weather.agent(api).prompt(question("trip"))).await?;
    ensure!(weather.cities() == ["Zürich", "Oslo"]);
    ensure!((told.num("call"), told.num("result")) == (2, 2), "{:?}", told.kinds);
    ensure!(told.text.ends_with("Zürich is warmer."), "{}", told.text);
    for answer in [whole, told.answer.context("the stream had no answer")?] {
        ensure!(answer.output() == "Zürich is warmer.");
        ensure!(answer.requests() == 3);
        ensure!(answer.usage.input_tokens > Some(0));
        ensure!(answer.usage.output_tokens > Some(0));
    }
    Ok(())
}

async fn cities(api: Api) -> Result<()> {
    let weather = Weather::default();
    let whole = weather.agent(api).prompt(question("cities")).await?;
    let told = events(weather.agent(api).prompt(question("cities"))).await?;
    ensure!(weather.cities() == ["Zürich", "Oslo", "Zürich", "Oslo"]);
    for answer in [whole, told.answer.context("the stream had no answer")?] {
        ensure!(answer.output() == "Zürich has 21 °C, Oslo has 4 °C.");
        ensure!(answer.requests() == 2);
    }
    Ok(())
}

async fn mistake(api: Api) -> Result<()> {
    let weather = Weather::default();
    let answer = weather.agent(api).prompt(question("mistake")).await?;
    ensure!(weather.cities() == ["Zürich"]);
    ensure!(answer.output() == "It is 21 °C in Zürich.");
    ensure!(answer.requests() == 3);
    Ok(())
}

async fn stranger(api: Api) -> Result<()> {
    let answer = Weather::default().agent(api).prompt(question("stranger")).await;
    match answer {
        Err(PromptError::UnknownToolCall { tool_name, .. }) => ensure!(tool_name == "fly"),
        other => anyhow::bail!("{other:?}"),
    }
    let mentioned = Weather::default().agent(api).prompt(question("mention")).await?;
    ensure!(mentioned.output() == "A call begins with <tool_call> and goes on with JSON.");
    Ok(())
}

async fn kinds(api: Api) -> Result<()> {
    let told = events(Weather::default().agent(api).prompt(question("weather"))).await?;
    for kind in ["Reasoning", "Arguments", "Text"] {
        ensure!(told.num(kind) > 0, "{kind} is not among {:?}", told.kinds);
    }
    ensure!(told.text.ends_with("It is 21 °C in Zürich."), "{}", told.text);
    Ok(())
}
