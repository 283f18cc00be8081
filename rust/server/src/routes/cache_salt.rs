//! Limits which requests share cached prompts.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};

/// Returns the salt of cached prompts, from the credentials and the requested salt. Without it, the
/// time to the first token would reveal one client's prompts to another. It is secret even for
/// requests with neither: a known salt allows prompts whose blocks all fall into one bucket of the
/// cache's table.
pub(super) fn cache_salt(headers: &HeaderMap, asked: Option<&str>) -> u64 {
    static SALTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let credential = |name| headers.get(name).map(HeaderValue::as_bytes);
    SALTS.hash_one((credential(header::AUTHORIZATION.as_str()), credential("x-api-key"), asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A salt that is known lets a client flood one bucket of the cache's table, and each look-up
    /// of all others then walks through it.
    #[test]
    fn requests_without_credentials_share_a_secret_salt() {
        let salt = cache_salt(&HeaderMap::new(), None);
        assert_eq!(cache_salt(&HeaderMap::new(), None), salt, "they share their prompts");
        assert_ne!(salt, 0);
        assert_ne!(salt, RandomState::new().hash_one((None::<&[u8]>, None::<&[u8]>, None::<&str>)));
        assert_ne!(cache_salt(&HeaderMap::new(), Some("x")), salt);
    }
}
