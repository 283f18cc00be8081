//! Reasoning before a constrained answer.

use serde_json::json;
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};

use crate::{CHAT, Live, chat, is_of_schema, marked, schema};

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
