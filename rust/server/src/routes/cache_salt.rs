//! Who may share cached prompts with whom.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};

/// The number that requests must share to share cached prompts: that of their credentials and of the salt that they ask for. The time to
/// the first token would else tell one client what another has asked. Nobody can work it out who does not know the credentials.
pub(super) fn cache_salt(headers: &HeaderMap, asked: Option<&str>) -> u64 {
    static SALTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let credential = |name| headers.get(name).map(HeaderValue::as_bytes);
    match (credential(header::AUTHORIZATION.as_str()), credential("x-api-key"), asked) {
        (None, None, None) => 0,
        all => SALTS.hash_one(all),
    }
}
