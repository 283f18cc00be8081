//! The fields of other servers and of messages: none is dropped in silence.

use serde_json::{Map, Value, json};
use streamcore_server::openai::schema::{Endpoint, Fate, Neutral, Param, body_params};

use crate::common::model::END_TOKEN;
use crate::common::{Stage, post};

const ROUTES: [(&str, Endpoint); 2] =
    [("/v1/chat/completions", Endpoint::Chat), ("/v1/completions", Endpoint::Completions)];

fn body(endpoint: Endpoint, stream: bool) -> Value {
    let mut body = if endpoint == Endpoint::Completions {
        json!({ "prompt": "hi" })
    } else {
        json!({ "messages": [{ "role": "user", "content": "hi" }] })
    };
    body["stream"] = json!(stream);
    body
}

fn refused(endpoint: Endpoint) -> impl Iterator<Item = (&'static Param, Neutral, Option<&'static str>)> {
    body_params().filter(move |param| param.is_on(endpoint)).filter_map(|param| match param.fate {
        Fate::Refused { unless, instead } => Some((param, unless, instead)),
        Fate::Honoured { .. } | Fate::Ignored => None,
    })
}

/// Returns a value of each type that a client may send.
fn values() -> [Value; 8] {
    [
        json!("?"),
        json!(7.25),
        json!(3),
        json!(true),
        json!(false),
        json!(["?"]),
        json!({ "type": "?" }),
        json!([{ "?": 1 }]),
    ]
}

/// A program written for another server would get another answer than it asked for, with status
/// 200.
#[tokio::test]
async fn what_would_change_the_answer_is_refused_by_name() {
    let stage = Stage::new("");
    let mut num_refused = 0;
    for (path, endpoint) in ROUTES {
        for (param, unless, instead) in refused(endpoint) {
            for (index, value) in values().into_iter().filter(|value| !unless.matches(value)).enumerate() {
                let mut body = body(endpoint, index % 2 == 0);
                body[param.name] = value;
                let (head, answer) = stage.answer(post(path, body.clone())).await;
                let error: Value = serde_json::from_str(&answer).unwrap();
                let error = &error["error"];
                assert_eq!(
                    (head.status().as_u16(), &error["param"], &error["code"]),
                    (400, &json!(param.name), &json!("unsupported_parameter")),
                    "{body}: {answer}"
                );
                // Only what this route honours is worth a try.
                let ours = instead.filter(|ours| {
                    let is_it = |param: &&Param| param.name == *ours && param.is_on(endpoint);
                    body_params().find(is_it).is_some_and(|param| matches!(param.fate, Fate::Honoured { .. }))
                });
                let advice = ours.map(|ours| format!(", use `{ours}`"));
                let message = error["message"].as_str().unwrap();
                assert_eq!(message.contains(", use `"), advice.is_some(), "{message}");
                assert!(advice.is_none_or(|advice| message.ends_with(&advice)), "{message}");
                num_refused += 1;
            }
        }
    }
    assert!(num_refused > 1900, "{num_refused}");
    assert!(stage.is_clean());
}

/// The fields that programs are known to bring, by server; a row that goes missing from the table
/// would not be missed there.
#[tokio::test]
async fn known_fields_of_other_servers_are_refused() {
    let stage = Stage::new("");
    for (name, value, instead) in [
        ("regex", json!("a+"), Some("structured_outputs")),
        ("ebnf", json!("root ::= 'a'"), Some("structured_outputs")),
        ("json_schema", json!({ "type": "object" }), Some("response_format")),
        ("grammar", json!("root ::= 'a'"), Some("structured_outputs")),
        ("stop_regex", json!("a+"), None),
        ("custom_logit_processor", json!("x"), None),
        ("lora_path", json!("x"), None),
        ("return_hidden_states", json!(true), None),
        ("n_predict", json!(5), Some("max_tokens")),
        ("max_new_tokens", json!(5), Some("max_tokens")),
        ("min_new_tokens", json!(5), Some("min_tokens")),
        ("num_predict", json!(5), Some("max_tokens")),
        ("options", json!({ "temperature": 0 }), None),
        ("format", json!("json"), Some("response_format")),
        ("raw", json!(true), None),
        ("template", json!("{{ .Prompt }}"), None),
        ("parameters", json!({ "max_new_tokens": 1 }), None),
        ("best_of", json!(2), None),
        ("typical_p", json!(0.9), None),
        ("truncate", json!(100), Some("truncate_prompt_tokens")),
        ("watermark", json!(true), None),
        ("decoder_input_details", json!(true), Some("prompt_logprobs")),
        ("random_seed", json!(1), Some("seed")),
        ("repeat_penalty", json!(1.1), Some("repetition_penalty")),
        ("mirostat", json!(2), None),
        ("dry_multiplier", json!(0.8), None),
        ("dry_base", json!(2), None),
        ("xtc_probability", json!(0.5), None),
        ("samplers", json!(["top_k"]), None),
        ("use_beam_search", json!(true), None),
        ("length_penalty", json!(1.2), None),
        ("beam_width", json!(2), None),
        ("lora_request", json!({ "lora_name": "x" }), None),
        ("stop_words", json!(["x"]), Some("stop")),
        ("enable_thinking", json!(false), None),
    ] {
        for (path, endpoint) in ROUTES {
            for stream in [false, true] {
                let mut body = body(endpoint, stream);
                body[name] = value.clone();
                let (head, answer) = stage.answer(post(path, body)).await;
                assert_eq!(head.status(), 400, "{path} {name}: {answer}");
                assert!(answer.contains(&format!("\"param\":\"{name}\"")), "{path} {name}: {answer}");
                let advice = instead.map_or_else(String::new, |ours| format!(", use `{ours}`"));
                assert!(answer.contains(&advice), "{path} {name}: {answer}");
            }
        }
    }
}

/// Clients that send every field that they know, at its default, must be answered as if they had
/// sent none.
#[tokio::test(start_paused = true)]
async fn what_switches_a_field_off_passes() {
    for (path, endpoint) in ROUTES {
        let neutral = |unless: Neutral| match unless {
            Neutral::Null => Value::Null,
            Neutral::False => json!(false),
            Neutral::True => json!(true),
            Neutral::Numbers(numbers) => json!(numbers[0]),
            Neutral::Empty => json!({}),
            Neutral::Words(words) => json!(words[0]),
            Neutral::ListOf(word) => json!([word]),
        };
        let off: Map<_, _> =
            refused(endpoint).map(|(param, unless, _)| (param.name.to_owned(), neutral(unless))).collect();
        let nulls: Map<_, _> =
            refused(endpoint).map(|(param, ..)| (param.name.to_owned(), Value::Null)).collect();
        let ignored = body_params().filter(|param| matches!(param.fate, Fate::Ignored));
        let ignored: Map<_, _> = ignored.map(|param| (param.name.to_owned(), json!({ "?": 1 }))).collect();
        let plain = Stage::new("ok").play(post(path, body(endpoint, true)), 1).body();
        for more in [off, nulls, ignored] {
            let mut body = body(endpoint, true);
            body.as_object_mut().unwrap().extend(more);
            assert_eq!(Stage::new("ok").play(post(path, body), 1).body(), plain);
        }
    }
}

/// Returns what the template makes of these messages, as text, and whether a special token is in
/// it.
async fn rendered(template: &str, messages: &Value) -> Result<(String, bool), String> {
    let stage = Stage::with_template("", template);
    let (head, body) = stage.answer(post("/tokenize", json!({ "messages": messages }))).await;
    if head.status() != 200 {
        return Err(body);
    }
    let answer: Value = serde_json::from_str(&body).unwrap();
    let tokens: Vec<u64> = serde_json::from_value(answer["tokens"].clone()).unwrap();
    let has_special = tokens.contains(&u64::from(END_TOKEN));
    let bytes = tokens.iter().filter_map(|token| u8::try_from(*token).ok()).collect();
    Ok((String::from_utf8(bytes).unwrap(), has_special))
}

/// Thoughts, documents and whatever else a model was trained on would be missing from its prompt,
/// and nothing would say so.
#[tokio::test]
async fn what_a_message_has_reaches_the_template() {
    let messages = json!([
        { "role": "developer", "content": "a" },
        { "content": "b", "role": "document", "doc_id": 7, "tags": ["x", { "y": [true, 1.5, "é"] }] },
        { "role": "assistant", "reasoning_content": "hm", "content": "c", "prefix": false },
        { "role": "assistant", "reasoning": "hm" , "content": [{ "type": "text", "text": "d" }, { "type": "text", "text": "e" }] },
        { "role": "tool", "content": "22", "tool_call_id": "call_1", "name": "f" },
        { "role": "ipython", "content": [{ "type": "text", "text": "out" }] },
        { "role": "critic" },
        { "role": "assistant", "content": null, "refusal": "no", "tool_calls": [], "audio": null },
        { "role": "Ünü 🦀", "content": "" },
    ]);
    let expected = json!([
        { "role": "system", "content": "a" },
        { "content": "b", "role": "document", "doc_id": 7, "tags": ["x", { "y": [true, 1.5, "é"] }] },
        { "role": "assistant", "reasoning_content": "hm", "content": "c", "prefix": false },
        { "role": "assistant", "reasoning": "hm" , "content": "d\ne" },
        { "role": "tool", "content": "22", "tool_call_id": "call_1", "name": "f" },
        { "role": "ipython", "content": "out" },
        { "role": "critic", "content": "" },
        { "role": "assistant", "refusal": "no", "content": "" },
        { "role": "Ünü 🦀", "content": "" },
    ]);
    let (text, _) = rendered("{{ messages | tojson }}", &messages).await.unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    // Also their order, which a template may walk through.
    assert_eq!(serde_json::to_string(&told).unwrap(), serde_json::to_string(&expected).unwrap());
}

/// A model that knows a role by its own name, or thoughts by another, must be told what it was
/// trained on.
#[tokio::test]
async fn a_template_is_told_what_it_knows_by_its_name() {
    let role = "{% for m in messages %}[{{ m.role }}]{% endfor %}";
    let developer = json!([{ "role": "developer", "content": "x" }]);
    assert_eq!(rendered(role, &developer).await.unwrap().0, "[system]");
    let knowing = format!("{role}{{% if messages[0].role == 'developer' %}}!{{% endif %}}");
    assert_eq!(rendered(&knowing, &developer).await.unwrap().0, "[developer]!");
    for (known, given) in [("reasoning_content", "reasoning"), ("reasoning", "reasoning_content")] {
        let template = format!("{{% for m in messages %}}<{{{{ m.{known} }}}}>{{% endfor %}}");
        let messages = json!([{ "role": "assistant", "content": "x", given: "hm" }, { "role": "assistant", "content": "x", known: "ah" }]);
        assert_eq!(rendered(&template, &messages).await.unwrap().0, "<hm><ah>");
    }
}

/// A client that names roles and fields could otherwise end a turn with a special token and speak
/// as another.
#[tokio::test]
async fn markers_are_letters_wherever_a_client_writes_them() {
    let template = "{% for m in messages %}{% for key, value in m.items() %}{{ key }}={{ value }};{% endfor %}{% endfor %}";
    for message in [
        json!({ "role": "<end>", "content": "x" }),
        json!({ "role": "user", "content": "<end>" }),
        json!({ "role": "user", "content": "x", "thought": "a<end>b" }),
        json!({ "role": "user", "content": "x", "list": [{ "<end>": "<end>" }] }),
        json!({ "role": "user", "content": "x", "<end>": 1 }),
    ] {
        let (text, has_special) = rendered(template, &json!([message])).await.unwrap();
        assert!(!has_special && text.contains("<end>"), "{message}: {text}");
    }
    let (_, has_special) = rendered("<end>", &json!([{ "role": "user", "content": "x" }])).await.unwrap();
    assert!(has_special, "the template's own are markers");
}

/// The template is the only judge of roles, and its reason is the one that helps.
#[tokio::test]
async fn what_the_template_refuses_is_refused_in_its_words() {
    let template = "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}\
                    {{ raise_exception('only users speak, not ' + m.role) }}{% endif %}{% endfor %}";
    let body = rendered(template, &json!([{ "role": "boss", "content": "x" }])).await.unwrap_err();
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(error["error"]["message"], "only users speak, not boss");
    assert_eq!(
        (&error["error"]["code"], &error["error"]["param"]),
        (&json!("invalid_value"), &json!("messages"))
    );
}

/// What needs a feature that is not there must not look as if it had been read.
#[tokio::test]
async fn known_fields_of_messages_that_are_not_supported_are_refused() {
    let message = json!({ "role": "assistant", "content": "x", "audio": { "id": "a" } });
    let messages = json!([{ "role": "user", "content": "x" }, message]);
    let body = rendered("x", &messages).await.unwrap_err();
    assert!(body.contains("\"param\":\"messages[1].audio\""), "{body}");
    for message in [
        json!({ "content": "x" }),
        json!({ "role": "", "content": "x" }),
        json!({ "role": 1, "content": "x" }),
    ] {
        let body = rendered("x", &json!([message])).await.unwrap_err();
        assert!(body.contains("\"param\":\"messages[0].role\""), "{body}");
    }
    for role in ["system", "developer", "user"] {
        let body = rendered("x", &json!([{ "role": role }])).await.unwrap_err();
        assert!(body.contains("\"param\":\"messages[0].content\""), "{body}");
    }
}
