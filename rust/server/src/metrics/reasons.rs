//! Counters by a fixed set of reasons.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An enum of reasons, each with the label that it is counted under.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            const LABELS: [&'static str; [$($label),*].len()] = [$($label),*];
        }
    };
}
pub(super) use reasons;

/// One counter for each of a fixed set of reasons.
#[derive(Debug)]
pub struct Reasons<const N: usize> {
    labels: [&'static str; N],
    counts: [AtomicU64; N],
}

impl<const N: usize> Reasons<N> {
    pub(super) fn new(labels: [&'static str; N]) -> Self {
        Self { labels, counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    pub(super) fn add(&self, reason: usize) {
        self.counts[reason].fetch_add(1, Relaxed);
    }

    pub(super) fn values(&self) -> Vec<(String, u64)> {
        let labels = self.labels.iter().map(ToString::to_string);
        labels.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect()
    }
}
