//! The names of a chat's fields in its original dialect.

use crate::error::ApiError;

/// Names of a chat's fields and of their sources. A name covers everything inside it, and the
/// longest match counts.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<(String, String)>);

impl Origins {
    /// Adds a field of the chat, and its source.
    pub fn add(&mut self, chat: impl Into<String>, own: impl Into<String>) {
        self.0.push((chat.into(), own.into()));
    }

    /// Renames an error's fields to those that the client has sent.
    #[must_use]
    pub fn name(&self, error: ApiError) -> ApiError {
        let ApiError::Invalid { code, param, message } = error else { return error };
        // Each second piece is code.
        let pieces = message.split('`').enumerate();
        let renamed = pieces.map(|(nth, piece)| {
            if nth % 2 == 1 { self.own(piece).unwrap_or_else(|| piece.to_owned()) } else { piece.to_owned() }
        });
        let message = renamed.collect::<Vec<_>>().join("`");
        let param = param.map(|param| self.own(&param).unwrap_or(param));
        ApiError::Invalid { code, param, message }
    }

    /// Returns the dialect's name of a chat's field, if it differs.
    #[must_use]
    pub fn own(&self, name: &str) -> Option<String> {
        let is_in = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        let fitting = self.0.iter().filter_map(|(chat, own)| {
            let rest = name.strip_prefix(chat.as_str()).filter(|rest| is_in(rest))?;
            Some((chat.len(), own, rest))
        });
        let (_, own, rest) = fitting.max_by_key(|(len, ..)| *len)?;
        Some(format!("{own}{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client would look for a field that it has never sent.
    #[test]
    fn an_error_names_the_field_that_was_sent() {
        let mut origins = Origins::default();
        origins.add("messages", "input");
        origins.add("messages[1]", "input[3]");
        origins.add("messages[1].tool_calls[0].function", "input[4]");
        for (chat, own) in [
            ("messages", "input"),
            ("messages[1].content", "input[3].content"),
            ("messages[10]", "input[10]"),
            ("messages[1].tool_calls[0].function.arguments", "input[4].arguments"),
            ("messages_of", "messages_of"),
            ("model", "model"),
        ] {
            let named = origins.name(ApiError::invalid("c", chat, format!("`{chat}` is `1`, see messages")));
            assert_eq!(named, ApiError::invalid("c", own, format!("`{own}` is `1`, see messages")));
        }
        assert_eq!(origins.name(ApiError::ApiKey), ApiError::ApiKey);
    }
}
