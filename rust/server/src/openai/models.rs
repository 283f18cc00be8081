//! The list of models.

use serde::Serialize;

/// One model.
#[derive(Debug, Serialize)]
pub struct Model<'a> {
    /// Its served name.
    pub id: &'a str,
    /// `model`
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Who serves it.
    pub owned_by: &'static str,
    /// The first name of the model. vLLM has the path of the model here.
    pub root: &'a str,
    /// The base of an adapter; as in vLLM, other models have none.
    pub parent: Option<&'a str>,
    /// Longest context, under vLLM's name for it.
    pub max_model_len: usize,
}

/// All models.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    /// `list`
    pub object: &'static str,
    /// One entry for each served name.
    pub data: Vec<Model<'a>>,
}
