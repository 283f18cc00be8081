//! Reasoning before a constrained answer.

use serde_json::{Map, json};
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};
use streamcore_server::text::{ChatTemplate, TextModel};

use crate::{CHAT, Live, chat, is_of_schema, json_merge, marked, schema};

/// A thought that a schema cuts short, or a schema that a thought breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_constrains_the_answer_and_not_the_thought() {
    let text = marked();
    for (name, reasoning) in ReasoningFormat::ALL {
        // Its marks are sentences, which letters drawn by chance do not say.
        if reasoning == ReasoningFormat::Granite {
            continue;
        }
        let tools_of = (reasoning == ReasoningFormat::OpenaiGptoss).then_some(ToolFormat::Openai);
        let live = Live::new(&text, Detected { tools: tools_of, reasoning: Some(reasoning) }, 5, 2);
        let mut has_thought = false;
        for _ in 0..6 {
            let more = json!({ "guided_json": schema(), "n": 2 });
            for answer in live.choices(CHAT, chat(more)).await {
                if answer["finish_reason"] != "length" {
                    let content = answer["message"]["content"].as_str().unwrap_or_default();
                    assert!(is_of_schema(content), "{name}: {answer}");
                }
                has_thought |= answer["message"]["reasoning"].as_str().is_some_and(|text| !text.is_empty());
            }
        }
        assert!(has_thought, "{name}: no model thinks");
    }
}

/// Returns a model behind whose prompts a thought has begun.
fn opened(reasoning: ReasoningFormat) -> TextModel {
    let template = format!(
        "{{% for message in messages %}}{{{{ message.content }}}}{{% endfor %}}{}",
        reasoning.begin_text()
    );
    let template = ChatTemplate::new(&template, &Map::new(), jiff::Zoned::now).unwrap();
    TextModel { chat_template: Some(template), ..marked() }
}

/// A model that thinks for as long as it likes would never come to its answer, and a thought that
/// is cut off where it is not told so would be taken for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thought_ends_with_its_budget() {
    for (name, reasoning) in ReasoningFormat::ALL {
        let tools = (reasoning == ReasoningFormat::OpenaiGptoss).then_some(ToolFormat::Openai);
        let live = Live::new(&opened(reasoning), Detected { tools, reasoning: Some(reasoning) }, 3, 2);
        for budget in [0, 1, 12] {
            for more in
                [json!({}), json!({ "guided_regex": "[0-9]{20}" }), json!({ "logprobs": true, "n": 2 })]
            {
                let what = format!("{name}, {budget}, {more}");
                let body = json!({ "thinking_token_budget": budget, "max_tokens": 150, "min_tokens": 100 });
                let (status, answer) = live.ask(CHAT, chat(json_merge(&body, &more))).await;
                assert_eq!(status, 200, "{what}: {answer}");
                let choices = answer["choices"].as_array().unwrap();
                let num_reasoning =
                    answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
                // A character that has begun is finished.
                assert!(num_reasoning <= ((budget + 3) * choices.len()) as u64, "{what}: {answer}");
                for choice in choices {
                    let content = choice["message"]["content"].as_str().unwrap_or_default();
                    let is_held = more.get("guided_regex").is_some();
                    // By chance nothing becomes the header of a message.
                    let has_headers = reasoning == ReasoningFormat::OpenaiGptoss && !is_held;
                    assert!(has_headers || !content.is_empty(), "{what}: {answer}");
                    assert!(
                        !is_held || content.bytes().all(|byte| byte.is_ascii_digit()),
                        "{what}: {answer}"
                    );
                }
            }
        }
    }
}

/// A budget that is counted from the beginning of the answer would take its tokens from that of a
/// model that did not think.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_counts_the_thought_alone() {
    let live = Live::new(&marked(), Detected { tools: None, reasoning: Some(ReasoningFormat::Qwen3) }, 3, 2);
    let more = json!({ "guided_choice": ["yes it is so"], "thinking_token_budget": 4 });
    let mut nums_reasoning = Vec::new();
    for _ in 0..24 {
        let (_, answer) = live.ask(CHAT, chat(&more)).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "yes it is so", "{answer}");
        nums_reasoning
            .push(answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap());
    }
    assert_eq!(nums_reasoning.iter().min(), Some(&0));
    assert!((4..=7).contains(nums_reasoning.iter().max().unwrap()), "{nums_reasoning:?}");
}

/// Claude Code names a budget with each message: one that were refused, or forgotten, would leave
/// it without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_keeps_to_its_budget_where_thoughts_are_known() {
    let body = json!({
        "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 60,
        "thinking": { "type": "enabled", "budget_tokens": 4 },
    });
    for reasoning in [Some(ReasoningFormat::Qwen3), None] {
        let text = opened(ReasoningFormat::Qwen3);
        let live = Live::new(&text, Detected { tools: None, reasoning }, 3, 2);
        let (status, answer) = live.ask("/v1/messages", body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        let num_thought = answer["usage"]["output_tokens_details"]["thinking_tokens"].as_u64();
        assert_eq!(num_thought.is_some(), reasoning.is_some(), "{answer}");
        assert!(num_thought.is_none_or(|number| (1..=7).contains(&number)), "{answer}");
        let last = answer["content"].as_array().unwrap().last().unwrap();
        assert!(last["type"] == "text" && !last["text"].as_str().unwrap().is_empty(), "{answer}");
    }
}
