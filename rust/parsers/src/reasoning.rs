//! Reasoning before the content: its formats, and where it begins and ends.
//!
//! Reasoning is at the beginning of an answer and nowhere else: behind whitespace, or where the
//! prompt has opened it. Later markers are text. It ends with its marker, with a call, or never.
//! Both texts are the model's own, with these exceptions, which are syntax: whitespace that is all
//! there is of the reasoning, the newlines behind Gemma's opening, and those before the content in
//! `granite_thinking`; as in vLLM, the newlines behind `</think>` are content elsewhere.

/// A format of reasoning, by its name in vLLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasoningFormat {
    /// `<think>…</think>`; Qwen 3 and later.
    Qwen3,
    /// `<think>…</think>`.
    DeepseekR1,
    /// `[THINK]…[/THINK]`.
    Mistral,
    /// Channel `analysis` of gpt-oss. Goes with [`ToolFormat::Openai`](crate::ToolFormat::Openai),
    /// and is chosen with it.
    OpenaiGptoss,
    /// `<|channel>thought\n…<channel|>`.
    Gemma4,
    /// Sentences: `Here is my thought process:`, `Here is my response:`. Granite 3.
    Granite,
    /// `<think>…</think>` and newlines; Granite 4.2.
    GraniteThinking,
    /// `<think>…</think>`.
    Glm45,
    /// `<think>…</think>`.
    Olmo3,
}

/// The notation of an answer with reasoning: `(begin REASONING end)? (before_content CONTENT)`, or
/// calls in the place of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningSyntax {
    /// Before the reasoning, where the prompt has not opened it.
    pub begin: &'static str,
    /// Behind it.
    pub end: &'static str,
    /// Before content.
    pub before_content: &'static str,
}

/// The markers around reasoning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The ways in which it begins, each of one or more markers in a row.
    pub(crate) begins: &'static [&'static [&'static str]],
    pub(crate) ends: &'static [&'static str],
    /// Newlines behind the beginning are not part of it.
    pub(crate) skips_newlines_inside: bool,
    /// Newlines behind the end are not part of the content.
    pub(crate) skips_newlines_behind: bool,
}

impl ReasoningFormat {
    /// Each, with its name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("qwen3", Self::Qwen3),
        ("deepseek_r1", Self::DeepseekR1),
        ("mistral", Self::Mistral),
        ("openai_gptoss", Self::OpenaiGptoss),
        ("gemma4", Self::Gemma4),
        ("granite", Self::Granite),
        ("granite_thinking", Self::GraniteThinking),
        ("glm45", Self::Glm45),
        ("olmo3", Self::Olmo3),
    ];

    /// Returns the format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, format)| (known == name).then_some(format))
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(name, format)| (format == self).then_some(name)).unwrap_or_default()
    }

    /// Returns whether a prompt has opened the reasoning, so that the answer starts inside.
    #[must_use]
    pub fn is_open_behind(self, prompt: &str) -> bool {
        let prompt = prompt.trim_end();
        self.limits().begins.iter().any(|begin| prompt.ends_with(&begin.concat()))
    }

    /// Returns the markers that a grammar puts around reasoning.
    #[must_use]
    pub fn syntax(self) -> ReasoningSyntax {
        match self {
            Self::OpenaiGptoss => ReasoningSyntax {
                begin: "<|channel|>analysis<|message|>",
                end: "<|end|><|start|>assistant",
                before_content: "<|channel|>final<|message|>",
            },
            Self::Gemma4 => {
                ReasoningSyntax { begin: "<|channel>thought\n", end: "<channel|>", before_content: "" }
            }
            _ => {
                let Limits { begins, ends, .. } = self.limits();
                ReasoningSyntax { begin: begins[0][0], end: ends[0], before_content: "" }
            }
        }
    }

    /// Returns the text that begins a model's reasoning.
    #[must_use]
    pub fn begin_text(self) -> String {
        self.limits().begins[0].concat()
    }

    /// Returns the text that ends a model's reasoning.
    #[must_use]
    pub fn end_text(self) -> &'static str {
        match self {
            Self::OpenaiGptoss => "<|end|><|start|>assistant<|channel|>final<|message|>",
            _ => self.limits().ends[0],
        }
    }

    pub(crate) fn limits(self) -> Limits {
        let limits = |begins, ends| Limits {
            begins,
            ends,
            skips_newlines_inside: false,
            skips_newlines_behind: false,
        };
        match self {
            Self::Qwen3 | Self::DeepseekR1 | Self::Glm45 | Self::Olmo3 => {
                limits(&[&["<think>"]], &["</think>"])
            }
            Self::GraniteThinking => {
                Limits { skips_newlines_behind: true, ..limits(&[&["<think>"]], &["</think>"]) }
            }
            Self::Mistral => limits(&[&["[THINK]"]], &["[/THINK]"]),
            Self::OpenaiGptoss => limits(&[&["<|channel|>analysis<|message|>"]], &["<|end|>"]),
            Self::Gemma4 => Limits {
                skips_newlines_inside: true,
                ..limits(&[&["<|channel>", "thought"]], &["<channel|>"])
            },
            Self::Granite => limits(
                &[&["Here is my thought process:"], &["Here's my thought process:"]],
                &["Here is my response:", "Here's my response:"],
            ),
        }
    }
}
