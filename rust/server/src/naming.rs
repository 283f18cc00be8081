//! The names of the server, its model, and the fields of reasoning.

/// Maximum length of a name quoted in an error, which leaves room for the served ones.
const MAX_QUOTED_CHARS: usize = 80;
/// Maximum names listed in an error.
const MAX_TOLD_NAMES: usize = 8;

/// The names of the server, its model, and the fields of reasoning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Names under which the model is served. An answer has the requested one, or the first.
    pub served_model_names: Vec<String>,
    /// The version of the server.
    pub version: String,
    /// When the model was loaded, in seconds since 1970.
    pub created: u64,
    /// The fields of an answer's reasoning.
    pub reasoning_field: ReasoningField,
}

/// The fields of an answer that have its reasoning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// Both: some clients know one of them, some the other.
    #[default]
    Both,
    /// `reasoning`, as vLLM and OpenRouter call it.
    Reasoning,
    /// `reasoning_content`, as DeepSeek called it first.
    ReasoningContent,
}

impl ReasoningField {
    /// Each, with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("both", Self::Both), ("reasoning", Self::Reasoning), ("reasoning_content", Self::ReasoningContent)];

    /// Returns the setting of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, field)| (known == name).then_some(field))
    }

    /// Returns the values of `reasoning` and `reasoning_content`.
    #[must_use]
    pub fn told<T: Clone>(self, text: T) -> [Option<T>; 2] {
        match self {
            Self::Both => [Some(text.clone()), Some(text)],
            Self::Reasoning => [Some(text), None],
            Self::ReasoningContent => [None, Some(text)],
        }
    }
}

impl Naming {
    /// Returns this name as it is served.
    #[must_use]
    pub fn find(&self, asked: &str) -> Option<&str> {
        self.served_model_names.iter().map(String::as_str).find(|name| *name == asked)
    }

    /// Makes the message for an unknown model: the served names, and a likely match.
    #[must_use]
    pub fn miss(&self, asked: &str) -> String {
        let names = &self.served_model_names;
        let mut quoted: String = asked.chars().take(MAX_QUOTED_CHARS).collect();
        if quoted.len() < asked.len() {
            quoted.push('…');
        }
        let mut message = format!("model `{quoted}` does not exist");
        let told: Vec<_> = names.iter().take(MAX_TOLD_NAMES).map(|name| format!("`{name}`")).collect();
        if !told.is_empty() {
            let more = if names.len() > told.len() { " and others" } else { "" };
            message.push_str(&format!(", served: {}{more}", told.join(", ")));
        }
        if let Some(nearest) = nearest(asked, names) {
            message.push_str(&format!("; did you mean `{nearest}`?"));
        }
        message
    }
}

/// Returns the most similar name: another spelling, or without the owner.
fn nearest<'a>(asked: &str, names: &'a [String]) -> Option<&'a str> {
    // A comparison costs the product of both lengths.
    if asked.chars().count() > 4 * MAX_QUOTED_CHARS {
        return None;
    }
    let bare = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let likeness = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&asked.to_lowercase(), &name.to_lowercase());
        whole.max(strsim::normalized_damerau_levenshtein(&bare(asked), &bare(name)))
    };
    let likely = names.iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness > 0.6);
    // The first of equals.
    likely.rev().max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(asked: &str, names: &[&str]) -> String {
        let served_model_names = names.iter().map(|&name| name.to_owned()).collect();
        Naming { served_model_names, ..Naming::default() }.miss(asked)
    }

    /// A client that mistyped a name would need another route to find the served ones.
    #[test]
    fn an_unknown_model_names_those_that_are_served() {
        for (asked, names, message) in [
            ("gpt-4", &["demo"][..], "model `gpt-4` does not exist, served: `demo`"),
            ("Demo", &["demo"], "model `Demo` does not exist, served: `demo`; did you mean `demo`?"),
            (
                "Llama-3.1-8B-Instruct",
                &["demo", "meta-llama/Llama-3.1-8B-Instruct"],
                "model `Llama-3.1-8B-Instruct` does not exist, served: `demo`, `meta-llama/Llama-3.1-8B-Instruct`; \
                 did you mean `meta-llama/Llama-3.1-8B-Instruct`?",
            ),
            (
                "qwen2.5-coder",
                &["qwen2.5-code", "qwen2.5-codes"],
                "model `qwen2.5-coder` does not exist, \
                 served: `qwen2.5-code`, `qwen2.5-codes`; did you mean `qwen2.5-code`?",
            ),
        ] {
            assert_eq!(miss(asked, names), message);
        }
        let many: Vec<String> = (0..20).map(|nth| format!("model-{nth}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let message = miss(&"x".repeat(1 << 20), &many);
        assert!(message.len() < 400 && message.contains("`model-7` and others"), "{message}");
    }
}
