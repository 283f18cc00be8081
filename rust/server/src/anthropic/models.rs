//! The list of models.

use serde::Serialize;

/// One model.
#[derive(Debug, Serialize)]
pub struct Model<'a> {
    /// `model`
    pub r#type: &'static str,
    /// Its served name.
    pub id: &'a str,
    /// The same.
    pub display_name: &'a str,
    /// When it was loaded.
    pub created_at: String,
    /// Always `active`: the list has only served models.
    pub lifecycle: &'static str,
    /// Longest prompt.
    pub max_input_tokens: usize,
    /// Longest answer.
    pub max_tokens: usize,
}

/// All models, on one page.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    /// One entry for each served name.
    pub data: Vec<Model<'a>>,
    /// `false`
    pub has_more: bool,
    /// The first name.
    pub first_id: Option<&'a str>,
    /// The last name.
    pub last_id: Option<&'a str>,
}

impl<'a> ModelList<'a> {
    /// Creates a list of these models.
    #[must_use]
    pub fn new(data: Vec<Model<'a>>) -> Self {
        let (first_id, last_id) = (data.first().map(|model| model.id), data.last().map(|model| model.id));
        Self { data, has_more: false, first_id, last_id }
    }
}

/// Formats the seconds since 1970 by RFC 3339.
#[must_use]
pub fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
