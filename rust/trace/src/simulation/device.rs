//! The duration of a step on a device, by the two resources that bound it.

use serde::Deserialize;

use super::SettingError;

/// A device with a model on it.
///
/// A step reads all weights once, and the keys and values of each sequence's context; and it
/// multiplies each token with each weight. Reading and computing overlap, so it takes as long as
/// the slower of the two. The work of attention itself is left out: up to contexts of some ten
/// thousand tokens it is small beside that.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Bytes of all weights.
    pub weight_bytes: f64,
    /// Bytes of the keys and values of one token, in all layers.
    pub kv_bytes_per_token: f64,
    /// Floating-point operations for one token: two for each weight.
    pub flops_per_token: f64,
    /// Bytes that the device reads in a second.
    pub bytes_per_s: f64,
    /// Floating-point operations that it performs in a second.
    pub flops_per_s: f64,
    /// Seconds in each step in which the host works and the device cannot. A second step in flight
    /// hides them.
    pub overhead_s: f64,
}

impl Device {
    /// Checks that every step takes a positive, finite time.
    ///
    /// # Errors
    /// Names the invalid value.
    pub fn validate(&self) -> Result<(), SettingError> {
        let at_least_0 = [
            ("weight_bytes", self.weight_bytes),
            ("kv_bytes_per_token", self.kv_bytes_per_token),
            ("flops_per_token", self.flops_per_token),
            ("overhead_s", self.overhead_s),
        ];
        let above_0 = [("bytes_per_s", self.bytes_per_s), ("flops_per_s", self.flops_per_s)];
        for (name, value) in at_least_0.into_iter().chain(above_0) {
            if !value.is_finite() || value < 0.0 {
                return Err(SettingError::new(format!("`{name}` is {value}, it must be at least 0")));
            }
        }
        match above_0.into_iter().find(|(_, value)| *value == 0.0) {
            Some((name, _)) => Err(SettingError::new(format!("`{name}` is 0, it must be more"))),
            None => Ok(()),
        }
    }

    /// Returns the nanoseconds that the device needs for a step of this many tokens, whose
    /// sequences have this many tokens in the KV cache.
    #[must_use]
    pub fn step_ns(&self, num_tokens: usize, num_context_tokens: u64) -> u64 {
        let bytes = self.weight_bytes + self.kv_bytes_per_token * num_context_tokens as f64;
        let read_s = bytes / self.bytes_per_s;
        let compute_s = self.flops_per_token * num_tokens as f64 / self.flops_per_s;
        nanoseconds(read_s.max(compute_s))
    }

    /// Returns the nanoseconds that the host needs for a step.
    #[must_use]
    pub fn overhead_ns(&self) -> u64 {
        nanoseconds(self.overhead_s)
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
