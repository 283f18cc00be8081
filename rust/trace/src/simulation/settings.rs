//! The settings of a simulation.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use streamcore_engine::{EngineConfig, EngineError};

use super::{Device, GeneratedLoad, Simulation};
use crate::recording::Recording;
use crate::replay::ReplayError;

/// An invalid setting of a simulation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

impl SettingError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl From<EngineError> for SettingError {
    fn from(error: EngineError) -> Self {
        Self(error.to_string())
    }
}

/// Why a simulation cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The file of the trace.
    #[error("trace {} cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The content of the file.
    #[error("trace {}: {error}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ReplayError,
    },
}

/// A simulation from end to end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The requests.
    pub load: LoadSettings,
    /// Changes to the limits of the trace, or to the [usual](Limits::usual) ones.
    pub limits: Limits,
    /// The cost model of steps.
    pub device: Device,
    /// Maximum waiting requests, beyond which requests are refused.
    pub max_waiting_requests: usize,
}

/// A load by its numbers or by its file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LoadSettings {
    /// Generated.
    Generated(GeneratedLoad),
    /// Recorded.
    Trace {
        /// The trace.
        path: PathBuf,
        /// Factor by which time runs faster.
        speed: f64,
    },
}

impl Settings {
    /// Creates the simulation.
    ///
    /// # Errors
    /// [`StartError`] names the setting or the file.
    pub fn start(self) -> Result<Simulation, StartError> {
        let Self { load, limits, device, max_waiting_requests } = self;
        match load {
            LoadSettings::Generated(load) => {
                let config = limits.change(Limits::usual(load.max_len()))?;
                Ok(Simulation::generated(load, config, device, max_waiting_requests)?)
            }
            LoadSettings::Trace { path, speed } => {
                if !(speed.is_finite() && speed > 0.0) {
                    return Err(
                        SettingError::new(format!("`speed` is {speed}, it must be more than 0")).into()
                    );
                }
                let file = match File::open(&path) {
                    Ok(file) => BufReader::new(file),
                    Err(error) => return Err(StartError::Io { path, error }),
                };
                let recording =
                    Recording::read(file, speed).map_err(|error| StartError::Trace { path, error })?;
                let config = limits.change(recording.config().clone())?;
                Ok(Simulation::recorded(recording, config, device, max_waiting_requests)?)
            }
        }
    }
}

/// Changes to the limits of another engine, or to the usual ones. `None` keeps a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// [`EngineConfig::block_size`].
    pub block_size: Option<usize>,
    /// [`EngineConfig::num_blocks`]. `None`: as many as hold [`Self::num_kv_tokens`].
    pub num_blocks: Option<usize>,
    /// Tokens that the KV cache holds, whatever their number in a block.
    pub num_kv_tokens: Option<usize>,
    /// [`EngineConfig::max_num_batched_tokens`].
    pub max_num_batched_tokens: Option<usize>,
    /// [`EngineConfig::max_num_seqs`].
    pub max_num_seqs: Option<usize>,
    /// [`EngineConfig::max_steps_in_flight`].
    pub max_steps_in_flight: Option<usize>,
    /// [`EngineConfig::enable_prefix_caching`].
    pub enable_prefix_caching: Option<bool>,
    /// [`EngineConfig::target_itl`] in milliseconds; 0 for none.
    pub target_itl_ms: Option<f64>,
}

impl Limits {
    /// Returns the default limits without a trace: those of a server on a GPU, for contexts of
    /// `max_model_len` tokens, with blocks for all running sequences.
    #[must_use]
    pub fn usual(max_model_len: usize) -> EngineConfig {
        let (block_size, max_num_seqs) = (16, 256);
        EngineConfig {
            block_size,
            num_blocks: max_num_seqs * max_model_len.div_ceil(block_size),
            max_num_batched_tokens: 8192,
            max_num_seqs,
            max_model_len,
            max_steps_in_flight: 2,
            enable_prefix_caching: true,
            // What a server chooses, `python/streamcore/runner/limits.py`.
            target_itl: Some(Duration::from_millis(100)),
            min_prefill_share: 4,
            num_mask_words: 0,
            capture_sizes: Vec::new(),
        }
    }

    /// Applies the changes to `config`.
    ///
    /// # Errors
    /// [`SettingError`] names the invalid limit.
    pub fn change(self, config: EngineConfig) -> Result<EngineConfig, SettingError> {
        let target_itl = match self.target_itl_ms {
            None => config.target_itl,
            Some(0.0) => None,
            Some(milliseconds) => {
                let wrong = |error| format!("`target_itl_ms` is {milliseconds}: {error}");
                let target = Duration::try_from_secs_f64(milliseconds / 1e3);
                Some(target.map_err(|error| SettingError::new(wrong(error)))?)
            }
        };
        let block_size = self.block_size.unwrap_or(config.block_size);
        let num_kv_tokens =
            self.num_kv_tokens.unwrap_or_else(|| config.num_blocks.saturating_mul(config.block_size));
        let changed = EngineConfig {
            block_size,
            // A block size of 0 is refused below.
            num_blocks: self.num_blocks.unwrap_or(num_kv_tokens / block_size.max(1)),
            max_num_batched_tokens: self.max_num_batched_tokens.unwrap_or(config.max_num_batched_tokens),
            max_num_seqs: self.max_num_seqs.unwrap_or(config.max_num_seqs),
            max_steps_in_flight: self.max_steps_in_flight.unwrap_or(config.max_steps_in_flight),
            enable_prefix_caching: self.enable_prefix_caching.unwrap_or(config.enable_prefix_caching),
            target_itl,
            min_prefill_share: if self.target_itl_ms.is_some() { 0 } else { config.min_prefill_share },
            ..config
        };
        changed.validate()?;
        Ok(changed)
    }
}
