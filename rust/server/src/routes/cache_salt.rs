//! Who may share cached prompts with whom.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};

/// Returns the number that requests must share to share cached prompts: that of their credentials
/// and of the salt that they ask for. The time to the first token would else tell one client what
/// another has asked. Nobody can work it out, not even for requests that have neither: whoever
/// knows the salt can make prompts whose blocks all fall into one bucket of the cache's table.
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
