//! Everything that went over the wire, as a test reads it.

use axum::body::Body;
use axum::http::Response;
use http_body_util::BodyExt;

/// Reads a response to its end.
pub async fn transcript_of(response: Response<Body>) -> Transcript {
    let (head, mut body) = response.into_parts();
    let mut writes = Vec::new();
    let is_cut = loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                writes.push(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap());
            }
            end => break end.is_some(),
        }
    };
    Transcript { head: Response::from_parts(head, ()), writes, is_cut }
}

/// Everything that went over the wire.
pub struct Transcript {
    pub head: Response<()>,
    pub writes: Vec<String>,
    /// The body was not ended, and the client sees that.
    pub is_cut: bool,
}

impl Transcript {
    /// Without the headers that belong to a connection, so that both doors can be compared.
    pub fn without_connection(mut self) -> Self {
        for name in ["connection", "date", "transfer-encoding"] {
            self.head.headers_mut().remove(name);
        }
        self
    }

    /// For a snapshot: the writes apart from each other, without what changes from run to run.
    pub fn golden(&self) -> String {
        let mut lines = vec![self.head.status().to_string()];
        let mut headers: Vec<_> = self
            .head
            .headers()
            .iter()
            .filter(|(name, _)| *name != "openai-processing-ms")
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        lines.extend(headers);
        for write in &self.writes {
            lines.push("--- write".to_owned());
            lines.push(without_time(write));
        }
        lines.extend(self.is_cut.then(|| "--- cut".to_owned()));
        lines.join("\n")
    }

    pub fn body(&self) -> String {
        without_time(&self.writes.concat())
    }

    /// Returns the JSON of every event but `[DONE]`.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let body = self.writes.concat();
        let data = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// Returns what a client makes of the stream: text, finish and stop reasons of a choice, and
    /// the usage.
    pub fn outcome(&self, choice: usize) -> String {
        let events = self.events();
        let of_choice: Vec<_> = events
            .iter()
            .filter_map(|event| event["choices"].as_array()?.iter().find(|entry| entry["index"] == choice))
            .collect();
        let text: String = of_choice
            .iter()
            .filter_map(|entry| entry["delta"]["content"].as_str().or(entry["text"].as_str()))
            .collect();
        let last = of_choice.last().unwrap();
        let usage = &events.last().unwrap()["usage"];
        format!("{text:?} {} {} {usage}", last["finish_reason"], last["stop_reason"])
    }
}

pub fn without_time(text: &str) -> String {
    ["created", "created_at"].into_iter().fold(text.to_owned(), |text, name| {
        let name = format!("\"{name}\":");
        let mut parts = text.split(&name);
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
            out.push_str(&name);
            // A time that is a text is one of the test's.
            out.push_str(if rest.len() < part.len() { "0" } else { "" });
            out.push_str(rest);
        }
        out
    })
}
