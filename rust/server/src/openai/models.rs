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
    /// The model that it is a name of: its first one. vLLM has the path of the model here.
    pub root: &'a str,
    /// What it was tuned from; as in vLLM, only an adapter would have that.
    pub parent: Option<&'a str>,
    /// Longest context that can be asked for, under the name that vLLM gives it.
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
