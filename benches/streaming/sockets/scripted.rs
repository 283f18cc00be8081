//! The server that is measured: the whole of it, with a script in the place of a model.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use streamcore_engine::EngineConfig;
use streamcore_server::script::{ParserNames, runner};
use streamcore_server::{Access, DriverLimits, Naming, Script, Server, ServerConfig, bind};

/// From event to event of a paced answer.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// Returns one long answer, as fast as it goes, or paced on request.
pub(crate) fn script() -> String {
    let text = "It rained, so they stayed for longer than they had meant to, and talked about the weather. "
        .repeat(4000);
    let paced: String = text.chars().take(10_000).collect();
    json!({ "rules": [
        { "when": { "equals": "paced" }, "answer": { "text": paced, "finish_reason": "length", "token_delay_ms": PACE.as_millis() } },
        { "answer": { "text": text, "finish_reason": "length" } },
    ] })
    .to_string()
}

/// Serves until the process is killed. The limits are those of `streamcore serve script:FILE
/// --max-num-seqs 512`.
pub(crate) fn serve() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model");
    let mut text = streamcore_server::text::TextModel::load(Path::new(folder)).unwrap();
    let script = Arc::new(Script::load(&script(), &mut text, ParserNames::default()).unwrap());
    let config = ServerConfig {
        naming: Naming { served_model_names: vec!["script".to_owned()], ..Naming::default() },
        access: Access::default(),
        vocab_size: text.tokenizer.vocab_size(),
        engine: EngineConfig {
            block_size: 256,
            num_blocks: 512 * 512,
            max_num_batched_tokens: 1 << 14,
            max_num_seqs: 512,
            max_model_len: 1 << 17,
            max_steps_in_flight: 1,
            enable_prefix_caching: true,
            capture_sizes: vec![],
            target_itl: None,
            min_prefill_share: 0,
            num_mask_words: 0,
        },
        limits: DriverLimits::default(),
        script: Some(Arc::clone(&script)),
    };
    let server = Server::start(bind("127.0.0.1", 0).unwrap(), text, config).unwrap();
    println!("{}", server.address().unwrap().port());
    runner::run(server.driver(), &script);
}
