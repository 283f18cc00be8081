//! The client's timeouts, from the headers of the OpenAI SDKs.

use std::time::Duration;

use axum::http::HeaderMap;

/// Returns how long its reader waits for the next byte: that of the SDK for Python.
#[must_use]
pub fn read_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds = seconds(headers, "x-stainless-read-timeout")?;
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero())
}

/// Returns how long a whole answer may take: a fifth longer than its reader waits, so that a client
/// which is still there ends it by its own limit, with the error of its SDK. The SDK for JavaScript
/// cuts its seconds down to a whole number, so there is one more.
#[must_use]
pub fn patience(headers: &HeaderMap) -> Option<Duration> {
    let whole_seconds = || Duration::try_from_secs_f64(seconds(headers, "x-stainless-timeout")? + 1.0).ok();
    let limit = read_timeout(headers).or_else(whole_seconds)?;
    Some(limit.saturating_add(limit / 5))
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A limit read as shorter than it is ends answers that a client still waits for.
    #[test]
    fn only_what_is_a_time_is_a_limit() {
        let of = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            patience(&headers).map(|patience| patience.as_secs_f64())
        };
        let told = |value| (of("x-stainless-read-timeout", value), of("x-stainless-timeout", value));
        assert_eq!(told("600"), (Some(720.0), Some(721.2)));
        assert_eq!(told("2.5").0, Some(3.0));
        assert_eq!(told("0"), (None, Some(1.2)));
        for nonsense in ["", "soon", "NaN", "inf", "-7", "1e300", "None"] {
            assert_eq!(told(nonsense), (None, None), "{nonsense}");
        }
        assert_eq!(patience(&HeaderMap::new()), None);
    }
}
